"""The routes, with their schema and their docs, by FastAPI."""

import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse

from marlserve.serving.agent import bodies
from marlserve.serving.agent.answers import Answers
from marlserve.serving.agent.service import UnknownDecision
from marlserve.serving.agent.settings import MOST_BATCH, MOST_ITERATIONS
from marlserve.serving.agent.trainer import Unavailable

SELECT, RECORD = "/select_replica", "/record_experience"


def made(answers: Answers, is_ready: Callable[[], bool]) -> FastAPI:
    """All routes."""
    app, service = FastAPI(title="RL Agent Service", version="1.0"), answers.service

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        """What was sent is not told again: it may be no JSON."""
        keys = ("type", "loc", "msg")
        found = [{key: each.get(key) for key in keys} for each in error.errors()]
        return JSONResponse({"detail": found}, 422)

    @app.exception_handler(Unavailable)
    async def unavailable(request: Request, error: Unavailable) -> Response:
        return JSONResponse({"detail": str(error)}, 503)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the process is alive."""
        return {"status": "ok", "service": "rl_agent"}

    @app.get("/ready")
    async def ready(response: Response) -> dict[str, Any]:
        """Whether it takes requests; and what is there besides, which it does not wait for."""
        ready_now = is_ready()
        response.status_code = 200 if ready_now else 503
        player, delivery = service.decider.player, service.delivery
        return {
            "ready": ready_now,
            "version": player.version if player is not None else "",
            "refused": service.policies.why,
            "trainer": service.trainer.is_up,
            "redis": delivery.is_connected if delivery is not None else None,
        }

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(answers.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.post(SELECT, response_model=bodies.Selection)
    async def select_replica(asked: bodies.Select | None = None) -> Any:
        """Which replica gets a request; without a body, by what was measured."""
        return answers.selected(asked, time.perf_counter())

    @app.post(f"{SELECT}/batch", response_model=bodies.SelectionBatch)
    async def select_batch(asked: bodies.SelectBatch) -> Any:
        """Which replicas get several, each as if it were alone."""
        return {"decisions": [answers.selected(x, time.perf_counter()) for x in asked.requests]}

    @app.post(RECORD, response_model=bodies.Recorded)
    async def record_experience(said: bodies.Record) -> Any:
        """What came of a request; a second time it changes nothing."""
        try:
            return await answers.recorded(said)
        except UnknownDecision as error:
            raise HTTPException(404, str(error)) from error
        except ValueError as error:
            raise HTTPException(422, str(error)) from error

    @app.post(f"{RECORD}/batch", response_model=bodies.RecordedBatch)
    async def record_batch(said: bodies.RecordBatch) -> Any:
        """What came of several; one that is refused does not keep the others."""
        results: list[dict[str, Any]] = []
        for each in said.experiences:
            try:
                results.append(await answers.recorded(each))
            except ValueError as error:
                status = "unknown" if isinstance(error, UnknownDecision) else "refused"
                results.append({"status": status, "reward": None, "detail": str(error)})
        return {"results": results}

    @app.post("/train", response_model=bodies.Trained)
    async def train(
        batch_size: Annotated[int, Query(ge=1, le=MOST_BATCH)] = 64,
        iterations: Annotated[int, Query(ge=1, le=MOST_ITERATIONS)] = 1,
    ) -> Any:
        """Train now, in the process that does so."""
        return await service.trainer.train(batch_size, iterations)

    @app.post("/save_model")
    async def save_model() -> dict[str, str]:
        """Save and publish what was learned; `refused` says why it was not published."""
        said = await service.trainer.tell({"command": "save"})
        await service.policies.look()
        path = str(service.settings.model_path)
        told = {"version": said["version"], "refused": said["refused"]}
        return {"status": "saved", "path": path} | told

    @app.post("/reset_epsilon")
    async def reset_epsilon(
        epsilon: Annotated[float, Query(ge=0.0, le=1.0, allow_inf_nan=False)] = 1.0,
    ) -> dict[str, Any]:
        """Explore anew; the bound of the service holds all the same."""
        said = await service.trainer.tell({"command": "epsilon", "value": epsilon})
        service.explore(said["epsilon"])
        return {"status": "reset", "epsilon": said["epsilon"]}

    @app.get("/stats", response_model=bodies.Stats)
    async def stats() -> Any:
        """How it is going."""
        counts = answers.metrics.num_decisions, answers.metrics.num_outcomes
        return service.stats() | dict(zip(("decisions", "outcomes"), counts, strict=True))

    @app.get("/policies")
    async def policies() -> dict[str, Any]:
        """Versions that there are, and which one is served."""
        version, is_pinned = _store(service.store.current)
        return {"versions": service.store.versions(), "served": version, "pinned": is_pinned}

    @app.post("/rollback")
    async def rollback(version: Annotated[str, Query(pattern="^[0-9]{1,18}$")]) -> Any:
        """Serve this version until /release."""
        _store(service.store.roll_back, version)
        await service.policies.look()
        return await policies()

    @app.post("/release")
    async def release() -> Any:
        """Serve the newest version, and those to come."""
        _store(service.store.release)
        await service.policies.look()
        return await policies()

    return app


def _store(act: Callable[..., Any], *args: Any) -> Any:
    try:
        return act(*args)
    except ValueError as error:
        raise HTTPException(409, str(error)) from error
