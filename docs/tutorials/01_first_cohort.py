"""Your first cohort: from a download to a report card in seven calls.

Run it with `.venv/bin/python docs/tutorials/01_first_cohort.py`. It takes a few minutes on two CPU cores, writes into
the folder `first-cohort`, and goes on where it stopped when you run it again. Each call is also a command; see
docs/reference/commands.md.
"""

from __future__ import annotations

from pathlib import Path

from synthcohort import evaluate, prepare, report, sample, train, verify
from synthcohort.phantoms.acdc import Phantom


def main(
    out: Path,
    *,
    patients: int = 40,
    size: int = 32,
    images_seen: int = 100_000,
    width: int = 64,
    task_images_seen: int = 16_000,
) -> Path:
    """Return the path of the report card.

    Args:
        out: Folder to write into.
        patients: Of the phantom.
        size: Height and width in pixels.
        images_seen: Images that the generator is trained on, repeats counted.
        width: Of the generator's network; a smaller one is faster and worse.
        task_images_seen: Images that the segmentation network is trained on, repeats counted.
    """
    # 1. A download. This one is procedural; a real one has the same layout, and you would skip this step.
    download = out / "download"
    if not download.exists():
        Phantom(patients=patients).write(download, seed=0)

    # 2. A cohort: square images of one size, split by patient, with pseudonyms in place of names.
    real = prepare("acdc", download, out=out / "real", size=size)
    print("real", real.counts())

    # 3. Nothing should be wrong with it.
    assert verify(real.path) == []

    # 4. A generator learns images and masks together.
    run = train(real.path, generator="edm", out=out / "run", images_seen=images_seen, options={"width": width})

    # 5. A synthetic cohort, as large as the real one and split like it.
    synthetic = sample(run, out=out / "synthetic", like=real.path)
    print("synthetic", synthetic.counts())

    # 6. Scores. Beside each stand a ceiling, which is what real images get, and a case that is known to be bad.
    task = {"images_seen": task_images_seen}
    for score in evaluate(real.path, synthetic.path, out=out / "eval", seeds=1, options=task):
        value = "not estimable" if score.value is None else f"{score.value:.3f}"
        print(f"{score.role:<8} {score.metric:<16} {score.arm:<16} {score.label:<16} {value}")

    # 7. The report card: open it in a browser.
    return report([out / "eval"], out=out / "report.html")


if __name__ == "__main__":
    print(main(Path("first-cohort")))
