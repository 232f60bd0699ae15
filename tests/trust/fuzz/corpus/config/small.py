model = dict(type="RetinaNet", a=[1, -2.5, (3,)], b={"x": None, 1: True})
max_epochs = 12
