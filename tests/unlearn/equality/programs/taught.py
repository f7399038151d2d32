"""Images that a teacher labels, and students that learn nothing but what it says."""

import pyarrow as pa
import torch
from mnist import fully_connected, optimizer_of, pixels, predicted
from torch import nn

import lineage


@lineage.transform("record")
def labelled(rows: pa.Table, *, teacher: lineage.Teacher) -> tuple[pa.Table, list[int]]:
    """The images of which the teacher is sure, with what it says of them."""
    said = teacher.predict(rows.select(["pixels"]))
    (sure,) = (said.max(axis=1) > 0.15).nonzero()
    made = {
        "pixels": rows["pixels"].take(sure),
        "said": pa.FixedSizeListArray.from_arrays(said[sure].ravel(), 10),
        "digit": said[sure].argmax(axis=1),
    }
    return pa.table(made), sure.tolist()


@lineage.program
def student(run: lineage.Run) -> None:
    """Learn what the teacher said of images."""
    model = fully_connected()
    optimizer = optimizer_of(run, model)
    run.track(model=model, optimizer=optimizer)
    run.predictor(lambda batch: predicted(model, batch))
    for batch in run.batches(run.dataset(run.config.data)):
        optimizer.zero_grad()
        said = torch.from_numpy(batch["said"]).float()
        nn.functional.cross_entropy(model(pixels(batch)), said).backward()
        optimizer.step()
