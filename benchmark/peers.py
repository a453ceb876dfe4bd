"""Time whole cycles of our adversarial training steps beside public ones: equal architecture, batch and precision.

    OMP_NUM_THREADS=2 python benchmark/peers.py [--wgan DIR] [--stylegan DIR] [--rounds 7]

The peers' own statements are run, cut out of their training loops, without their logging; their repositories stay
outside this project: DIR is github.com/Zeleni9/pytorch-wgan (its generator, critic and penalty, all widths halved to
128, 256, 512) and github.com/NVlabs/stylegan3 (its StyleGAN2 networks, loss and phases; on a CPU it uses its reference
operations, which are slow by design). One process, contenders in turn, medians of whole cycles: five critic steps and
one generator step of WGAN-GP, 16 steps of StyleGAN2 with their lazy penalties. float32. The share of the FLOP floor is
the time that our multiplications take at the best rate measured here, over the time they took. Appends JSON lines to
benchmark/results/peers.jsonl.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import os
import statistics
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import circumstances
from train_step import Step, flops, interleaved, our_step, peak

RESULTS = Path(__file__).parent / "results" / "peers.jsonl"
WGAN_SHAPE, WGAN_BATCH, CRITIC_STEPS = (3, 32, 32), 64, 5
STYLE_SHAPE, STYLE_BATCH, CYCLE = (3, 32, 32), 16, 16
STYLE_BASE, STYLE_MOST, MAPPING = 4096, 128, 8


def main() -> int:
    """Time the peers that are there and append their rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wgan", type=Path)
    parser.add_argument("--stylegan", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    rows = []
    if given.wgan:
        ours = our_step("wgan_gp", WGAN_SHAPE, "fp32", WGAN_BATCH, masks=False, **WGAN_OPTIONS)
        facts = {"peer": "Zeleni9/pytorch-wgan", "shape": WGAN_SHAPE, "batch": WGAN_BATCH, "options": WGAN_OPTIONS}
        rows.append(facts | compared(repeated(ours, CRITIC_STEPS), wgan_cycle(given.wgan), given.rounds, CRITIC_STEPS))
    if given.stylegan:
        ours = our_step("stylegan2", STYLE_SHAPE, "fp32", STYLE_BATCH, masks=False, **STYLE_OPTIONS)
        facts = {"peer": "NVlabs/stylegan3", "shape": STYLE_SHAPE, "batch": STYLE_BATCH, "options": STYLE_OPTIONS}
        rows.append(facts | compared(repeated(ours, CYCLE), stylegan_cycle(given.stylegan), given.rounds, CYCLE))
    with RESULTS.open("a", encoding="utf-8") as file:
        for row in rows:
            line = json.dumps({"benchmark": "peers", **row, "rounds": given.rounds, **circumstances()})
            print(line)
            file.write(line + "\n")
    return 0


WGAN_OPTIONS: dict[str, Any] = {"filters": 128, "latent": 100, "critic_norm": "instance"}
STYLE_OPTIONS: dict[str, Any] = {
    "protocol": "paper", "channel_base": STYLE_BASE, "channel_max": STYLE_MOST, "mapping_layers": MAPPING,
}  # fmt: skip


def repeated(step: Step, times: int) -> Step:
    """Return a function that makes `times` steps."""

    def cycle() -> None:
        for _ in range(times):
            step()

    return cycle


def compared(ours: Step, peer: Step, rounds: int, steps: int) -> dict[str, Any]:
    """Return medians of both, their ratio, and what share of the FLOP floor ours reaches."""
    best, load = max(peak("fp32").values()), os.getloadavg()[0]
    work = {"ours": flops(ours), "peer": flops(peer)}
    times = interleaved({"ours": ours, "peer": peer}, rounds)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    return {
        "steps_per_cycle": steps,
        "seconds_median": medians,
        "seconds_min": {name: min(seconds) for name, seconds in times.items()},
        "times_faster": medians["peer"] / medians["ours"],
        "gflop_per_cycle": {name: value / 1e9 for name, value in work.items()},
        "share_of_flop_floor": {name: work[name] / best / medians[name] for name in work},
        "best_gflops": best / 1e9,
        "load_average": [load, os.getloadavg()[0]],
    }


def wgan_cycle(root: Path) -> Step:
    """Return a function that runs one turn of the public WGAN-GP loop, up to its generator's optimiser step."""
    text = (root / "models" / "wgan_gradient_penalty.py").read_text(encoding="utf-8")
    for before, after in (("256", "128"), ("512", "256"), ("1024", "512")):
        text = text.replace(before, after)
    tree = ast.parse(text)
    tree.body = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    names: dict[str, Any] = {
        "torch": torch, "nn": torch.nn, "optim": torch.optim, "autograd": torch.autograd,
        "Variable": torch.autograd.Variable, "chain": None, "Logger": None, "SAVE_PER_TIMES": 100,
    }  # fmt: skip
    exec(compile(tree, "wgan_gradient_penalty.py", "exec"), names)
    images = torch.rand((WGAN_BATCH, *WGAN_SHAPE), generator=torch.Generator().manual_seed(0)) * 2 - 1
    peer = names["WGAN_GP"].__new__(names["WGAN_GP"])
    peer.G, peer.D, peer.cuda = names["Generator"](WGAN_SHAPE[0]), names["Discriminator"](WGAN_SHAPE[0]), False
    peer.batch_size, peer.critic_iter, peer.lambda_term, peer.C = WGAN_BATCH, CRITIC_STEPS, 10, WGAN_SHAPE[0]
    peer.d_optimizer = torch.optim.Adam(peer.D.parameters(), lr=1e-4, betas=(0.5, 0.999))
    peer.g_optimizer = torch.optim.Adam(peer.G.parameters(), lr=1e-4, betas=(0.5, 0.999))
    peer.data = iter(lambda: images, None)
    loop = next(node for node in ast.walk(tree) if isinstance(node, ast.For) and ast.unparse(node.target) == "g_iter")
    end = next(i for i, node in enumerate(loop.body) if ast.unparse(node) == "self.g_optimizer.step()")
    body = _silent(ast.Module(loop.body[: end + 1], []))
    program = compile(ast.fix_missing_locations(body), "wgan_gradient_penalty.py", "exec")
    names |= {"self": peer, "one": torch.tensor(1.0), "mone": torch.tensor(-1.0)}
    return lambda: exec(program, names)


def _silent(tree: ast.Module) -> ast.Module:
    class Silencer(ast.NodeTransformer):
        def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
            return None if ast.unparse(node).startswith("print(") else node

    return Silencer().visit(tree)  # type: ignore[no-any-return]


def stylegan_cycle(root: Path) -> Step:
    """Return a function that runs 16 turns of the public StyleGAN2 loop: its phases and its moving average."""
    sys.path.insert(0, str(root))
    networks = importlib.import_module("training.networks_stylegan2")
    loss_of = importlib.import_module("training.loss").StyleGAN2Loss
    misc, dnnlib = importlib.import_module("torch_utils.misc"), importlib.import_module("dnnlib")
    channels, side = STYLE_SHAPE[:2]
    common = {"c_dim": 0, "img_resolution": side, "img_channels": channels}
    sizes = {"channel_base": STYLE_BASE, "channel_max": STYLE_MOST, "num_fp16_res": 0}
    mapping = {"num_layers": MAPPING}
    generator = networks.Generator(z_dim=512, w_dim=512, mapping_kwargs=mapping, **sizes, **common)
    critic = networks.Discriminator(epilogue_kwargs={"mbstd_group_size": 4}, **sizes, **common)
    generator.train().requires_grad_(False), critic.train().requires_grad_(False)
    cpu = torch.device("cpu")
    names: dict[str, Any] = {
        "torch": torch, "misc": misc, "num_gpus": 1, "batch_size": STYLE_BATCH, "batch_gpu": STYLE_BATCH,
        "G": generator, "D": critic, "G_ema": copy.deepcopy(generator).eval(), "cur_nimg": 0, "device": cpu,
        "ema_kimg": 10, "ema_rampup": None, "dnnlib": dnnlib,
        "loss": loss_of(cpu, generator, critic, r1_gamma=10, style_mixing_prob=0.9, pl_weight=2),
        "phases": _phases(dnnlib, generator, critic),
    }  # fmt: skip
    loop = ast.parse((root / "training" / "training_loop.py").read_text(encoding="utf-8"))
    phases = next(
        node for node in ast.walk(loop)
        if isinstance(node, ast.For) and ast.unparse(node.target) == "(phase, phase_gen_z, phase_gen_c)"
    )  # fmt: skip
    average = next(
        node for node in ast.walk(loop) if isinstance(node, ast.With) and "'Gema'" in ast.unparse(node.items[0])
    )
    program = compile(ast.Module([phases, average], []), "training_loop.py", "exec")
    return _style_turns(program, names)


def _phases(dnnlib: Any, generator: torch.nn.Module, critic: torch.nn.Module) -> list[Any]:
    """Return the four phases that the public loop sets up for lazy penalties."""
    found = []
    for name, module, every in (("G", generator, 4), ("D", critic, 16)):
        ratio = every / (every + 1)
        betas = (0.0**ratio, 0.99**ratio)
        optimiser = torch.optim.Adam(module.parameters(), lr=0.002 * ratio, betas=betas, eps=1e-8)
        for kind, interval in (("main", 1), ("reg", every)):
            events = {"start_event": None, "end_event": None}
            found.append(dnnlib.EasyDict(name=name + kind, module=module, opt=optimiser, interval=interval, **events))
    return found


def _style_turns(program: types.CodeType, names: dict[str, Any]) -> Callable[[], None]:
    images = torch.rand((STYLE_BATCH, *STYLE_SHAPE), generator=torch.Generator().manual_seed(0)) * 2 - 1
    nothing = torch.zeros(STYLE_BATCH, 0)

    def cycle() -> None:
        for turn in range(CYCLE):
            latents = [[torch.randn(STYLE_BATCH, 512)] for _ in names["phases"]]
            names["all_gen_z"], names["all_gen_c"] = latents, [[nothing] for _ in names["phases"]]
            names["phase_real_img"], names["phase_real_c"] = [images], [nothing]
            names["batch_idx"] = turn
            exec(program, names)

    return cycle


if __name__ == "__main__":
    sys.exit(main())
