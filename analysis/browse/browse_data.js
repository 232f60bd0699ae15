"use strict";
// The data of the page: boxes as objects, and what is found at a score. Lists of numbers are described in box_rows.py.
const Browse = {};
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const facts = read("data");
  const pictures = read("pictures");
  const runs = facts.runs;
  const isError = (kind) => facts.types.includes(kind);

  // [class, probability * 1000, ...] -> pairs; null where the teacher has no verdict
  const teacherOf = (row) => {
    if (!row) return null;
    const pairs = [];
    for (let k = 0; k < row.length; k += 2) pairs.push({ cls: row[k], share: row[k + 1] / 1000 });
    return pairs;
  };

  const images = facts.images.map((given, place) => {
    const image = {
      place, id: given.id, name: given.name, w: given.w, h: given.h, note: given.note ?? "",
      source: pictures[place] ? `data:image/jpeg;base64,${pictures[place]}` : "",
    };
    const said = given.teacher ?? [];
    image.objects = given.objects.map(([x, y, w, h, cls, size, crowd], n) => ({
      of: "object", image, n, box: [x, y, w, h], cls, size: facts.sizes[size], crowd: crowd === 1,
      teacher: teacherOf(said[0]?.[n]),
    }));
    image.detections = given.detections.map((rows, run) => rows.map((row, n) => {
      const [x, y, w, h, cls, score, kind, gt, iou, size] = row;
      return {
        of: "detection", image, run, n, box: [x, y, w, h], cls, score: score / 10000, kind: facts.kinds[kind],
        object: gt < 0 ? null : image.objects[gt], iou: iou / 1000, size: facts.sizes[size],
        teacher: teacherOf(said[run + 1]?.[n]),
      };
    }));
    return image;
  });

  // The verdict of each object of an image at a score, from detections of that score or more. A lower detection never
  // changes the verdict of a higher one, so this is what an evaluation at that score gives (box_verdicts.py).
  const objectVerdicts = (image, run, score) => {
    const verdicts = image.objects.map((object) => ({ object, run, kind: object.crowd ? "crowd" : "Miss", by: null }));
    for (const one of image.detections[run]) {
      if (one.score < score) break; // by falling score
      if (!one.object) continue;
      const verdict = verdicts[one.object.n];
      if (one.kind === "correct") Object.assign(verdict, { kind: "found", by: one });
      else if ((one.kind === "Cls" || one.kind === "Loc") && verdict.kind === "Miss") Object.assign(verdict, { kind: one.kind, by: one });
    }
    return verdicts;
  };

  const className = (cls) => facts.classes[cls] ?? "?";
  const percent = (value) => `${Math.round(100 * value)}%`;

  Object.assign(Browse, { facts, images, runs, isError, objectVerdicts, className, percent, letter: (run) => "AB"[run] });
})();
