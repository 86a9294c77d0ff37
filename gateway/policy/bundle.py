"""Loading a bundle of policies from its folder. I/O is in `folder`, all checking in `compile`."""

from pathlib import Path

from gateway.policy.compile import compile_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.folder import read_folder


def load_bundle(folder: Path) -> Bundle:
    """Read and check the policies in `folder`, and return them ready to decide.

    Raises BundleError with `file:line` and what to do: the folder can't be read (`folder.read_folder`) or a policy can't stand
    (`compile.compile_bundle`). Does not run the bundle's cases: `gateway.policy.holder` and `gateway policy test` do.
    """
    snapshot = read_folder(folder)
    return compile_bundle(snapshot.policies, snapshot.folder)
