"""The ground: bytes, tables and columns. Knows nothing of training.

``objects`` holds content-addressed blobs, ``merkle`` and ``rows`` the hashes that give data an
identity, ``intake`` reads files from outside, ``manifests`` keeps record tables as Parquet chunks
with Roaring deletion vectors, ``catalogue`` the relational truth, ``ledger`` the commitments.
"""
