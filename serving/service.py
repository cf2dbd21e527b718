"""The BentoML service: its workers, lifecycle, health and metrics; our own endpoints stand before its middleware."""

import os
from pathlib import Path
from typing import Any

import bentoml
import uvicorn.config
from _bentoml_sdk import Service

from serving.access import KEYS, LIMITS, LOG_FORMAT
from serving.application import Application, State, turns_by_scope
from serving.current import Current
from serving.drain import drain_on_sigterm
from serving.endpoints import ENDPOINTS
from serving.follower import Follower
from serving.forgetting import begin
from serving.guard import Guard
from serving.keys import Keys
from serving.logs import log_to_stderr
from serving.metrics import forget_the_dead
from serving.rate import Buckets
from serving.registry import Registry
from serving.served import Served
from serving.shedding import Shedding
from serving.supervisor import say, start_told

app = Application()
# BentoML starts uvicorn without a word about the protocol; this module is imported before the server is configured.
uvicorn.config.HTTP_PROTOCOLS["auto"] = "serving.shedding:Shedding"
uvicorn.config.LOOP_FACTORIES["auto"] = "serving.rounds:loop_factory"


class GuardedService(Service[Any]):
    """A BentoML service behind `Guard`.

    BentoML's own middleware would log the path that a caller invents, and every answer would pay for its tracing,
    logging and counting beside ours.
    """

    def to_asgi(self, is_main: bool = True) -> Any:
        """The whole application of one worker."""
        guard = Guard(super().to_asgi(is_main=is_main), app, ENDPOINTS)
        forget_the_dead()
        log_to_stderr("json" if os.environ.get(LOG_FORMAT) == "json" else "text")
        if KEYS in os.environ:
            guard.keys = Keys(Path(os.environ[KEYS]))
            guard.buckets = Buckets(Path(os.environ[LIMITS]))
        return guard


@bentoml.service(
    name="recsys",
    service_class=GuardedService,
    http={"host": "127.0.0.1"},
    traffic={"timeout": 30},
    logging={"access": {"enabled": False}},  # ours names the request and the key instead
)
class Recommendations:
    """Answers about customers of the lake, or about one whose data come with the request."""

    def __init__(self) -> None:
        """Load and warm up; the worker takes its first request when this has returned."""
        served = Served.from_environment()
        with start_told():
            answers = served.answers(served.chosen())
            answers.warm_up()
            traces = served.tracing()
        app.state = State(Current(answers), turns_by_scope(served.max_wait), traces=traces)
        follower = None
        if served.registry is not None:
            follower = Follower(Registry(served.registry), app.state.current, served.answers, app.ask)
            follower.start()
        if served.store is not None:
            begin(app.state.current)
        posts = (endpoint for endpoint in ENDPOINTS if endpoint.method == "POST")
        Shedding.turns = {post.path.encode(): app.state.turns[post.scope] for post in posts}.get
        drain_on_sigterm(app.state, served.drain, follower.stop if follower else None)
        day = answers.as_of
        say(bundle_id=answers.bundle.bundle_id, as_of=day and day.isoformat(), path=answers.paths[0])

    @bentoml.on_shutdown
    def send_last_traces(self) -> None:
        """After the last answer; BentoML calls this."""
        if app.state.traces is not None:
            app.state.traces.close()
