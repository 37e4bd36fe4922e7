"""Two processes and a gloo group between them, kept for a whole test module: to start them takes longer than to use them."""

import datetime
import multiprocessing
import os
import traceback

import torch

TIMEOUT_SECONDS = 60
"""Of a collective: a worker that waits for one that is gone fails its test."""
START_SECONDS = 240


class TwoWorkers:
    """Runs a function of an importable module on both at once: `function(parallel, *arguments)`."""

    def __init__(self, folder):
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(2)]
        self.pipes = [ours for ours, _ in pipes]
        self.processes = [
            context.Process(target=_serve, args=(rank, str(folder / "rendezvous"), theirs), daemon=True)
            for rank, (_, theirs) in enumerate(pipes)
        ]
        for process in self.processes:
            process.start()
        self.ready = False

    def _await_start(self):
        for pipe in self.pipes:
            if not self.ready:
                assert pipe.poll(START_SECONDS), "the workers do not start"
                pipe.recv()
        self.ready = True

    def run(self, function, *arguments):
        """What each returned, in the order of ranks. A worker that waits for the other fails the test, and ends both."""
        self._await_start()
        for pipe in self.pipes:
            pipe.send((function, arguments))
        outcomes = []
        for rank, pipe in enumerate(self.pipes):
            if not pipe.poll(2 * TIMEOUT_SECONDS):  # a wait that is not of a collective
                self.close()
                raise AssertionError(f"worker {rank} hangs")
            outcomes.append(pipe.recv())
        for failed, value in outcomes:
            assert not failed, value
        return [value for _, value in outcomes]

    def close(self):
        for process in self.processes:
            process.kill()
            process.join()


def _serve(rank, rendezvous, pipe):
    from training import scenarios  # noqa: F401  what it imports takes the time

    from optical_ray.training.parallel import Parallel

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=TIMEOUT_SECONDS)
    )
    pipe.send("ready")
    while True:
        function, arguments = pipe.recv()
        try:
            pipe.send((False, function(Parallel(rank, 2), *arguments)))
        except Exception:
            pipe.send((True, traceback.format_exc()))
