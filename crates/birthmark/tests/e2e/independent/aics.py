"""Checks a running node's log with PyPI's `aics-tlog`, which knows nothing of Birthmark.

usage: aics.py URL network.policy OLDER_CHECKPOINT

Checkpoint and quorum, every tile and entry, inclusion of every leaf, and that the log extends the older checkpoint.
"""

import sys
import urllib.request

from aics_tlog import (
    HttpTileReader,
    VerifiedTileReader,
    WitnessPolicy,
    audit_tiles,
    consistency_proof_from_tiles,
    inclusion_proof_from_tiles,
    parse_vkey,
    verify_checkpoint,
    verify_consistency,
    verify_leaf_inclusion,
)
from aics_tlog.checkpoint import checkpoint_from_note

url, policy_file, older_file = sys.argv[1:]
logs, witnesses, quorum = [], [], 0
for line in open(policy_file, encoding="utf-8"):
    words = line.split()
    if words[:1] == ["log"]:
        logs.append(parse_vkey(words[1]))
    elif words[:1] == ["witness"]:
        witnesses.append(words[2])
    elif words[:1] == ["group"]:
        quorum = int(words[2])
policy = WitnessPolicy.from_dict({"quorum": quorum, "witnesses": witnesses, "max_checkpoint_age": 3600})


def checked(text):
    """The checkpoint, signed by one of the policy's logs and a quorum of its witnesses."""
    head, note = checkpoint_from_note(text)
    results = [verify_checkpoint(note, log, policy=policy) for log in logs]
    assert any(result.ok for result in results), results
    return head


with urllib.request.urlopen(url + "/checkpoint") as answer:
    head = checked(answer.read().decode())
with open(older_file, encoding="utf-8") as file:
    older = checked(file.read())
reader = HttpTileReader([url + "/"])
audit_tiles(reader, head.size, head.root)
tiles = VerifiedTileReader(reader, head.size, head.root)
for index in range(head.size):
    proof = inclusion_proof_from_tiles(tiles, index, head.size)
    assert verify_leaf_inclusion(tiles.entry(index), index, head.size, proof, head.root), index
proof = consistency_proof_from_tiles(tiles, older.size, head.size)
assert verify_consistency(older.size, head.size, older.root, head.root, proof)
wrong = bytes(32)
assert not verify_consistency(older.size, head.size, wrong, head.root, proof)
print(f"aics-tlog: {head.size} leaves, consistent since {older.size}")
