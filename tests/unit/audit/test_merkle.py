import hashlib

import pytest

from gateway.audit.merkle import EMPTY_ROOT, Tree, leaf_hash
from gateway.audit.verify.tree import Hashes

# The leaves and roots that Certificate Transparency implementations test themselves with.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def defined(leaves: list[bytes]) -> bytes:
    """The definition of RFC 6962 section 2.1, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + defined(leaves[:split]) + defined(leaves[split:])).digest()


def test_known_roots_of_both_implementations() -> None:
    tree, own = Tree(), Hashes()
    assert tree.root() == EMPTY_ROOT
    assert own.root() == EMPTY_ROOT.hex()
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        tree.add(leaf_hash(bytes.fromhex(leaf)))
        own.push(leaf_hash(bytes.fromhex(leaf)))
        assert tree.root().hex() == own.root() == root


def test_every_size_up_to_200_agrees_with_the_definition() -> None:
    tree, own = Tree(), Hashes()
    leaves: list[bytes] = []
    for number in range(200):
        leaves.append(str(number).encode())
        tree.add(leaf_hash(leaves[-1]))
        own.push(leaf_hash(leaves[-1]))
        assert tree.root() == defined(leaves)
        assert own.root() == defined(leaves).hex()
        assert [peak.hex() for peak in tree.peaks] == own.subtrees()
        assert len(tree.peaks) == tree.size.bit_count()


def test_a_tree_goes_on_from_its_peaks() -> None:
    whole = Tree()
    for number in range(37):
        whole.add(leaf_hash(bytes([number])))
    resumed = Tree(whole.size, whole.peaks)
    copied = whole.copy()
    whole.add(leaf_hash(b"next"))
    resumed.add(leaf_hash(b"next"))
    assert resumed.root() == whole.root()
    assert copied.size == 37
    assert copied.root() != whole.root()


def test_peaks_that_do_not_fit_the_size_are_refused() -> None:
    with pytest.raises(ValueError, match="a tree of 3 leaves has 2 peaks, not 1"):
        Tree(3, [b"\x00" * 32])
    with pytest.raises(ValueError, match="leaves"):
        Tree(-1)
