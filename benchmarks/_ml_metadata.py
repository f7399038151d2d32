"""ML Metadata for peers.py, executed in an environment of its own; stdin says how many steps.

It needs an older protobuf than everything else. A line of stdin is answered with one of JSON: the
nanoseconds of each step, which records an execution that read an artefact.

python _ml_metadata.py FOLDER
"""

import json
import sys
import time

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as proto


def main(folder: str) -> None:
    config = proto.ConnectionConfig()
    config.sqlite.filename_uri = f"{folder}/ml-metadata.db"
    config.sqlite.connection_mode = proto.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = metadata_store.MetadataStore(config)
    batches = store.put_artifact_type(proto.ArtifactType(name="Batch"))
    steps = store.put_execution_type(proto.ExecutionType(name="Step"))
    done = 0
    for line in sys.stdin:
        laps = []
        for step in range(done, done + int(line)):
            began = time.perf_counter_ns()
            batch = proto.Artifact(type_id=batches, uri=f"batch-{step}")
            given = (batch, proto.Event(type=proto.Event.INPUT))
            store.put_execution(proto.Execution(type_id=steps), [given], [])
            laps.append(time.perf_counter_ns() - began)
        done += int(line)
        print(json.dumps(laps), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
