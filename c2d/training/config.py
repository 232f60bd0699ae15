"""Configs of a run from its spec: the stock student (config.py) and the training (train_config.py)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from mmengine import Config

from c2d.configs.closing_phase import PIPELINE, SHARE, is_share
from c2d.configs.dataset_tree import dataset_nodes
from c2d.configs.image_decoder import refuse_other_decoder
from c2d.configs.image_mixing import refuse_wrapped_mixing, resolve_mixing
from c2d.configs.input_size import with_pairs_as_tuples
from c2d.configs.student_config import class_counts, kept_student, load_student, student_digest, student_names
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore
from c2d.data.card import LoadedCard
from c2d.evaluation.datasets import coco_dataset
from c2d.specs import first_weights
from c2d.specs.schedule import TeacherRecipe, TeacherSchedule
from c2d.specs.spec import RunSpec
from c2d.training.optimization import optimization_config
from c2d.training.overrides import apply_overrides

HELD_OUT_BATCH = 8
"""Images whose crops a classifier sees together where it is not trained."""


@dataclass(frozen=True)
class RunConfigs:
    """Configs of a run.

    Attributes:
        student: stock config of the student, or of the classifier, that is shipped with its weights.
        train: the whole training.
    """

    student: Config
    train: Config


def resolve(spec: RunSpec, card: LoadedCard, folder: RunFolder) -> RunConfigs:
    """Resolve both configs of a run. Nothing is read but config files and the data card.

    Args:
        spec: of the run.
        card: the data set.
        folder: run folder; its store may keep the student config.

    Raises:
        InputError: unknown student, or an override whose key does not exist.
    """
    return _classifier(spec, card, folder) if spec.kind == "classifier" else _detector(spec, card, folder)


def _detector(spec: RunSpec, card: LoadedCard, folder: RunFolder) -> RunConfigs:
    pretrained = first_weights.network_source(spec.init) != first_weights.NONE
    source = _student(spec, folder, pretrained, num_classes=len(card.card.classes), input_size=spec.input)
    assert spec.student is not None
    dataset = coco_dataset(card, "train", source["train_pipeline"], test=False)
    model = source.to_dict()["model"]
    training = _training(spec, dataset, model) if spec.has_steps else _without_steps(spec, dataset, model, batch=1)
    if PIPELINE in source and spec.has_steps:
        dataset[PIPELINE], training["train_cfg"][SHARE] = source[PIPELINE], source[SHARE]
    apply_overrides(training, spec.overrides)
    _check_pipelines(training)
    _check_classes(training, card, spec.dataset.name)
    refuse_other_decoder(training["train_dataloader"], f"the training pipeline of {spec.student.name}")
    refuse_other_decoder(source["test_pipeline"], f"the test pipeline of {spec.student.name}")
    if spec.overrides:
        _resolve_overridden(training)
    train = Config(training)
    student = Config(
        {
            "default_scope": "mmdet",
            "model": train["model"],
            "test_dataloader": {
                "batch_size": 1,
                "num_workers": 0,
                "dataset": coco_dataset(card, card.evaluation_split, source["test_pipeline"], test=True),
            },
        }
    )
    return RunConfigs(student, train)


def _student(spec: RunSpec, folder: RunFolder, pretrained: bool, **sizes: Any) -> Config:
    """Return the config of the student that a spec names, from the store or as it is shipped; its digest is verified.

    Args:
        spec: of a detector, or of a classifier on the backbone of a student.
        folder: run folder; its store may keep the config.
        pretrained: see `load_student`.
        **sizes: num_classes and input_size, see `load_student`.
    """
    assert spec.student is not None
    name, digest = spec.student.name, spec.student.digest
    stored = RunStore(folder.path.parent).student_config(digest)
    kept = kept_student(stored, digest) if stored.exists() else None
    if kept is None and name not in student_names() and not name.startswith("mmdet::"):
        # Never the file of that name: a spec.json of the store is data, and a config is a program.
        raise InputError(
            f"student {name!a} is neither shipped nor kept as {stored}; "
            "give its config file as `student` of a spec again"
        )
    if kept is None and (found := student_digest(name)) != digest:
        raise InputError(
            f"student {name} is {found[:12]} here, the run needs {digest[:12]}; the toolbox or the config changed "
            "since: use the versions of its env.json, or start a new run of the same spec"
        )
    return load_student(str(stored) if kept else name, pretrained=pretrained, kept=kept, **sizes)


def backbone_of_spec(spec: RunSpec, folder: RunFolder) -> dict[str, Any] | None:
    """Return the config of the backbone of a classifier whose network is `student:NAME`; None for other networks.

    Args:
        spec: of the classifier.
        folder: run folder; its store may keep the student's config.

    Raises:
        InputError: as `resolve`.
    """
    from c2d.teachers.student_network import backbone_of

    if spec.kind != "classifier" or spec.student is None:
        return None
    return backbone_of(_student(spec, folder, pretrained=False).to_dict())


def _classifier(spec: RunSpec, card: LoadedCard, folder: RunFolder) -> RunConfigs:
    from c2d.teachers.fitting.text_embeddings import stored_embeddings
    from c2d.teachers.pipelines import teacher_pipeline

    recipe = spec.schedule.values
    assert isinstance(recipe, TeacherRecipe)
    model = {
        "network": spec.network,
        "num_classes": len(card.card.classes),
        "input": spec.input,
        "normalisation": recipe.normalisation.model_dump(),
        "context": recipe.crops.context,
        "fit": recipe.fit,
    }
    if (backbone := backbone_of_spec(spec, folder)) is not None:
        model["backbone"] = backbone
    held_out = teacher_pipeline("imagenet-held-out" if spec.takes_whole_images else "held-out", recipe.crops.image_size)
    if isinstance(recipe, TeacherSchedule):
        model |= {"loss": recipe.loss.model_dump(), "per_image": recipe.crops.per_image}
        pipeline = teacher_pipeline(recipe.crops.pipeline, recipe.crops.image_size)
        dataset = coco_dataset(card, "train", pipeline, test=False)
        if spec.takes_whole_images:  # small images are images of their class, too
            dataset["filter_cfg"]["min_size"] = 0
        training = _training(spec, dataset, model)
    else:
        if spec.text_embeddings is not None:
            model["text_length"] = stored_embeddings(spec.text_embeddings, folder).vectors.shape[1]
        training = _without_steps(spec, coco_dataset(card, "train", held_out, test=False), model, HELD_OUT_BATCH)
    apply_overrides(training, spec.overrides)
    _check_pipelines(training)
    _check_classes(training, card, spec.dataset.name)
    refuse_other_decoder(training["train_dataloader"], "the training pipeline of the classifier")
    if spec.overrides:
        _resolve_overridden(training)
    train = Config(training)
    student = Config(
        {
            "default_scope": "mmdet",
            "model": train["model"],
            "test_dataloader": {
                "batch_size": HELD_OUT_BATCH,
                "num_workers": 0,
                "dataset": coco_dataset(card, card.evaluation_split, held_out, test=True),
            },
        }
    )
    return RunConfigs(student, train)


def _training(spec: RunSpec, dataset: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    wrapper, schedulers = optimization_config(spec.training)
    return {
        "default_scope": "mmdet",
        "model": model,
        "method": copy.deepcopy(spec.method),
        "teachers": spec.teachers.model_dump(),
        "init": spec.init,
        "train_dataloader": {"batch_size": spec.training.batch, "dataset": dataset},
        "train_cfg": {"max_iters": spec.training.iterations, "val_interval": spec.training.val_interval},
        "optim_wrapper": wrapper,
        "param_scheduler": schedulers,
        "find_unused_parameters": False,
        "seed": spec.seed,
    }


def _without_steps(spec: RunSpec, dataset: dict[str, Any], model: dict[str, Any], batch: int) -> dict[str, Any]:
    return {
        "default_scope": "mmdet",
        "model": model,
        "init": spec.init,
        "train_dataloader": {"batch_size": batch, "dataset": dataset},
        "seed": spec.seed,
    }


def _check_pipelines(training: dict[str, Any]) -> None:
    """Check that overrides left every pipeline a list of steps."""
    dataset = training["train_dataloader"]["dataset"]
    for key in (PIPELINE, "pipeline"):
        steps = dataset.get(key, [None])
        if not isinstance(steps, list | tuple) or not steps:
            raise InputError(
                f"with these overrides the run has {steps!a:.80} as its {key}; write the list of its steps"
            )


def _resolve_overridden(training: dict[str, Any]) -> None:
    """Resolve steps that mix images and the closing phase once more, as overrides have changed them.

    Raises:
        InputError: images are mixed in a way that cannot be repeated, or the share of the closing phase is none.
    """
    source, dataset = "with these overrides the run", training["train_dataloader"]["dataset"]
    if "dataset" in dataset or "datasets" in dataset:
        refuse_wrapped_mixing(dataset, source)
    for key in (PIPELINE, "pipeline"):
        if key in dataset:
            dataset[key] = resolve_mixing([with_pairs_as_tuples(step) for step in dataset[key]], source)
    if (share := training.get("train_cfg", {}).get(SHARE)) is not None and (
        not is_share(share) or PIPELINE not in dataset
    ):
        raise InputError(
            f"override train_cfg.{SHARE} is {share!r}; it is a share of the iterations above 0 and at most 1, of a "
            f"student with a {PIPELINE}; null switches its closing phase off"
        )


def _check_classes(training: dict[str, Any], card: LoadedCard, dataset: str) -> None:
    """Check that overrides left the number and the names of the classes as the data set (its name) has them."""
    classes = card.card.classes
    for key, count in class_counts(training["model"]).items():
        if count != len(classes):
            raise InputError(
                f"override {key} is {count!r}, and data set {dataset} has {len(classes)} classes "
                f"({', '.join(classes[:4])}{', ...' if len(classes) > 4 else ''}); the number follows from the data "
                "set: leave the override out, or train on a data set with these classes"
            )
    for node in dataset_nodes(training["train_dataloader"]["dataset"], "train_dataloader.dataset"):
        names = (node.config.get("metainfo") or {}).get("classes")
        if names is None or list(names) != list(classes):
            raise InputError(
                f"override {node.path}.metainfo.classes is {names!r}, and the classes of data set {dataset} are "
                f"{', '.join(classes[:4])}{', ...' if len(classes) > 4 else ''}; they follow from the data set: leave "
                "the override out"
            )
