"""An empty BentoML endpoint, as BentoML's documentation has it: what an HTTP answer costs before anything is done."""

import os
import sys
import tempfile
from typing import Any

import bentoml

from benchmarks.measure import ROOT


@bentoml.service(name="empty", traffic={"timeout": 30})
class Empty:
    """Reads the body of POST /recommend and answers with nothing."""

    @bentoml.api
    def recommend(self, customer_id: str, k: int = 10) -> dict[str, str]:
        """Nothing."""
        return {}


def main(port: int, workers: int) -> None:
    """Serve until SIGTERM."""
    os.environ["BENTOML_HOME"] = tempfile.mkdtemp(prefix="empty-")
    from _bentoml_impl.server import serve_http

    service: Any = Empty
    service.config["workers"] = workers
    service.inject_config()
    serve_http("benchmarks.empty_service:Empty", working_dir=str(ROOT), host="127.0.0.1", port=port)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
