"""Two processes that share the tensors against one that has them all."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not torch.distributed.is_available():
    pytest.skip("torch without torch.distributed", allow_module_level=True)

import pandas as pd  # noqa: E402

from tests.torch import distributed_worker as worker  # noqa: E402

ROOT = Path(__file__).parents[2]
SECONDS = 600  # for all that they do; a process that waits in vain ends after 60


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What the two processes found."""
    folder = tmp_path_factory.mktemp("processes")
    torch.save(worker.single_checkpoint(), folder / "single.pt")
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }
    logs = [folder / f"{rank}.log" for rank in range(worker.WORLD)]
    running = []
    try:
        for rank, log in enumerate(logs):
            with log.open("wb") as stream:
                command = [sys.executable, worker.__file__, str(rank), str(folder)]
                running.append(
                    subprocess.Popen(
                        command,
                        env=environment,
                        stdout=stream,
                        stderr=subprocess.STDOUT,
                    )
                )
        for process in running:
            process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        pass  # told below, with what the processes wrote
    finally:
        for process in running:
            process.kill()
            process.wait()
    if any(process.returncode for process in running):
        told = "\n\n".join(
            f"process {rank} ended with {process.returncode}:\n{log.read_text()}"
            for rank, (process, log) in enumerate(zip(running, logs, strict=True))
        )
        pytest.fail(told, pytrace=False)
    return [
        torch.load(folder / f"{rank}.pt", weights_only=False)
        for rank in range(worker.WORLD)
    ]


def assert_same(found, expected, where="", rtol=1e-11, atol=1e-12):
    """Equal, but for rounding where there are floating point numbers."""
    if isinstance(expected, dict):
        assert list(map(str, found)) == list(map(str, expected)), where
        for key, value in expected.items():
            assert_same(found[key], value, f"{where}[{key!r}]", rtol, atol)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for k, pair in enumerate(zip(found, expected, strict=True)):
            assert_same(*pair, f"{where}[{k}]", rtol, atol)
    elif isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(
            found, expected, check_exact=False, rtol=rtol, atol=atol
        )
    elif isinstance(expected, torch.Tensor | np.ndarray | float):
        if isinstance(expected, torch.Tensor):
            assert type(found) is type(expected), where
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape), where
        np.testing.assert_allclose(
            np.asarray(found), np.asarray(expected), rtol, atol, err_msg=where
        )
    else:
        assert found == expected, where


# ---------------------------------------------------------------------- kinds of groups


@pytest.mark.parametrize(("cut", "options"), worker.KINDS)
def test_all_kinds_of_groups_equal_one_process(results, cut, options):
    names = worker.fitting(cut)
    pieces, expected = worker.kinds(worker.Whole(), names, options)
    entered = {name.rsplit(" ", 1)[0] for name in expected["entries"]["name"]}
    assert len(entered) > 0.8 * len(names)  # otherwise little would be compared
    found = [result["kinds", cut, options] for result in results]
    for _, reports in found:
        assert_same(reports, expected)
    for kind, tensors in pieces.items():
        for name, tensor in tensors.items():
            parts = [own[kind][name] for own, _ in found]
            if cut is None:
                assert_same(parts, [tensor, tensor], name)
            else:
                dim = 0 if cut == "square" else cut
                assert_same(torch.cat(parts, dim), tensor, name)


def test_messages_of_a_step(results):
    # Groups that lie whole on a process need none; all the others share one.
    expected = {"rows": 0, "elements": 0, "heads": 0, "heads cut apart": 1}
    expected["columns"] = 1
    assert [found["collectives"] for found in results] == [expected, expected]


def test_processes_report_the_same_bits(results):
    first, second = results
    for key in first:
        if key[0] == "kinds":
            assert_same(first[key][1], second[key][1], str(key), rtol=0, atol=0)
        elif key[0] in ("fsdp", "ddp"):
            assert_same(first[key], second[key], str(key), rtol=0, atol=0)


# ----------------------------------------------------------------------------- networks


def alone(name):
    function, options = worker.NETWORKS[name]
    return function(worker.One(), **options)


@pytest.mark.parametrize("name", worker.NETWORKS)
def test_training_equals_one_process(results, name):
    expected = alone(name)
    single = {"rtol": 1e-4, "atol": 1e-6} if name == "overflow" else {}
    for found in results:
        assert_same(found["fsdp", name], expected, "FSDP2", **single)
        assert_same(found["ddp", name], expected, "DDP", **single)
    if "entries" in expected:
        assert len(expected["entries"]) > 2
    if "sparse" in expected:
        assert not torch.allclose(expected["sparse"], expected["full"])
        assert torch.equal(expected["again"], expected["full"])


@pytest.mark.parametrize("way", ["columns", "kept"])
def test_other_ways_to_shard_equal_one_process(results, way):
    expected = alone("training unit")
    for found in results:
        assert_same(found[way, "training unit"], expected)


def test_a_skipped_step_is_skipped_everywhere(results):
    for found in results:
        for way in ("fsdp", "ddp"):
            assert set(found[way, "overflow"]["n_steps"]) == {5}


def test_bfloat16_compute_keeps_duals_of_shards_in_float32(results):
    for found in (result["mixed precision"] for result in results):
        assert found["dtypes"] == {torch.float32}
        assert found["first"]
        for name, dual in found["first"].items():
            # V = lr / nu W after one step, exactly: lr and nu are powers of two.
            torch.testing.assert_close(
                dual, found["before"][name] * (0.125 / 2), rtol=0, atol=0
            )
    first, second = (result["mixed precision"]["masks"] for result in results)
    assert_same(first, second)
    assert any(mask.any() for mask in first.values())


# -------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("kind", ["dessilbi", "adamw"])
def test_resumed_training_is_the_uninterrupted_one(results, kind):
    model = worker.network()
    optimizer = worker.optimizer_of(model, kind=kind)
    recorder = worker.PathRecorder(optimizer, model, every=1)
    worker.fit(model, optimizer, worker.batches(12))
    for found in (result["checkpoints"] for result in results):
        assert_same(found[kind], dict(model.state_dict()))
        assert_same(found[kind, "entries"], recorder.entries())
        for source in ("full", "sharded"):
            assert_same(found[kind, source], found[kind], source, rtol=0, atol=0)
            assert_same(found[kind, source, "entries"], found[kind, "entries"])
        if kind == "dessilbi":
            assert_same(found[kind, "single"], found[kind])
        times = [group["path_time"] for group in optimizer.param_groups]
        assert_same(found[kind, "full", "path_time"], times)


# --------------------------------------------------------------------------- what it is


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("n:m", ["ValueError", "'2:4'", "'a'", "blocks of 4", "dim 1", "dim 0"]),
        ("mixed", ["ValueError", "'neuron,neuron'", "'a' + 'b'", "all sharded"]),
        ("strided", ["ValueError", "'neuron'", "'a'", "fully_shard", "groups=None"]),
        ("partial", ["ValueError", "'element'", "'a'", "Partial", "fully_shard"]),
        ("flat", ["ValueError", "'a'", "FullyShardedDataParallel", "fully_shard"]),
        ("plain state", ["ValueError", "set_optimizer_state_dict", "full_state_dict"]),
        ("prune", ["ValueError", "'conv.weight'", "get_model_state_dict"]),
        ("prune recorder", ["ValueError", "'conv.weight'", "get_model_state_dict"]),
        ("ticket", ["ValueError", "'conv.weight'", "get_model_state_dict"]),
    ],
)
def test_what_is_not_supported_says_what_to_do(results, case, words):
    for found in results:
        for word in words:
            assert word in found["refusals"][case]
