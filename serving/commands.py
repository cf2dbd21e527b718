"""Commands that read a bundle: verify, score, serve, report."""

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import typer

from recsys.progress import progress_bar
from serving.batch_commands import Address, EngineName, Memory, Out, Threads, Version, Workers, run_command
from serving.engine import Engines
from serving.source import absolute

BundlePath = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="Directory of the bundle: the last line of `train`.")
]
LakePath = Annotated[str, typer.Argument(metavar="LAKE", help="The lake: a directory, or s3://bucket/prefix.")]
LakeOption = Annotated[
    str | None, typer.Option("--lake", metavar="LAKE", help="The lake: a directory, or s3://bucket/prefix.")
]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="DAY",
        help="Day (YYYY-MM-DD) from which customers are seen; events before it count. "
        "By default the day after the lake's last dated event, never the clock.",
    ),
]
RulesFile = Annotated[
    Path | None,
    typer.Option(
        "--rules", metavar="FILE", help="Who may be recommended what (docs/rules.md); applied before the ranking."
    ),
]


def verify(bundle: BundlePath) -> None:
    """Check a bundle: the hash of every file, names and types of the graphs, and the stored answers.

    The answers are those of the trained network for invented customers, from raw rows to ranked products, repeated
    here at batches of 1, 7 and 512 to within 1e-5. Leaves with exit code 1 if anything differs.
    """
    from recsys.bundle import verify as checks_of

    checks = checks_of(bundle)
    for check in checks:
        print(f"{'ok    ' if check.ok else 'FAILED'}  {check.name}: {check.detail}")
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def score(
    bundle: BundlePath,
    lake: LakePath,
    out: Out,
    top: Annotated[int, typer.Option("--top", metavar="K", help="Products per customer.")] = 10,
    as_of: AsOf = None,
    version: Version = None,
    diversity: Annotated[
        float | None,
        typer.Option(
            "--diversity", metavar="D", help="0 ranks by score, up to 1 for variety; the bundle's own if not given."
        ),
    ] = None,
    rules: RulesFile = None,
    memory: Memory = "4GiB",
    threads: Threads = 2,
    engine: EngineName = Engines.local,
    workers: Workers = None,
    address: Address = None,
) -> None:
    """Recommend for every customer of a lake, bucket by bucket.

    Writes OUT/bucket=NNNN.parquet (customer_id, rank, product_id, score, bundle_id, and the probabilities by horizon
    where the bundle has them) and, last, OUT/manifest.json.
    A run that was cut short is continued by the same command, with the day and the lake version it began with.
    With --engine ray the buckets are spread over processes or a cluster (docs/scale.md); the files are the same.
    """
    from serving.score import score as run

    run_command(
        run,
        "Scoring",
        "scored",
        bundle,
        lake,
        out,
        as_of=as_of,
        version=version,
        memory=memory,
        engine=engine,
        workers=workers,
        address=address,
        threads=threads,
        top=top,
        diversity=diversity,
        rules=rules,
    )


def similar(
    bundle: BundlePath,
    product: Annotated[str | None, typer.Option("--product", metavar="ID", help="Products like this one.")] = None,
    customer: Annotated[
        str | None, typer.Option("--customer", metavar="ID", help="Customers of the lake like this one.")
    ] = None,
    lake: LakeOption = None,
    top: Annotated[int, typer.Option("--top", metavar="K", min=1, help="How many.")] = 10,
    as_of: AsOf = None,
) -> None:
    """What is most like a product, or like a customer, to the recommender: by the cosine of its vectors.

    For a customer every bucket of the lake is read, as in scoring; without a recommender customers are compared by
    their embedding. Prints rank, id and cosine, parted by tabs.
    """
    from recsys.bundle import Bundle, Recommender
    from recsys.bundle.fits import check_fits, parse_day, scoring_day
    from recsys.errors import ConfigError
    from recsys.lake.store import Lake
    from serving.similar import similar_customers, similar_products

    if (product is None) == (customer is None):
        raise ConfigError("give exactly one of --product and --customer")
    loaded = Bundle.load(bundle)
    if product is not None:
        found = similar_products(Recommender(loaded, 2), product, top)
    elif lake is None or customer is None:
        raise ConfigError("--customer needs --lake, in which the others are looked for")
    else:
        opened = Lake.open(lake)
        check_fits(loaded, opened)
        with progress_bar("Comparing") as progress:
            found = similar_customers(loaded, opened, customer, top, scoring_day(opened, parse_day(as_of)), progress)
    for row in found.iter_rows():
        print("\t".join([str(row[0]), row[1], f"{row[2]:.4f}"]))


def serve(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="[BUNDLE]", help="Directory of the bundle; left out with --registry.")
    ] = None,
    registry: Annotated[
        Path | None,
        typer.Option("--registry", metavar="DIR", help="Serve what is in force there, and follow it (recsys deploy)."),
    ] = None,
    lake: LakeOption = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; others than 127.0.0.1 open it, and need --keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 3000,
    workers: Annotated[
        str, typer.Option("--workers", metavar="N", help="Processes that answer; auto: as many as processors.")
    ] = "1",
    as_of: AsOf = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="STORE",
            help="The online state (recsys state load): a file, or postgresql://user:password@host/database.",
        ),
    ] = None,
    clock: Annotated[
        str | None,
        typer.Option(
            "--clock",
            metavar="ZONE",
            help="With --store: follow the calendar of a time zone (Europe/Zurich, or local), so that what happened "
            "today counts; without it the day stays that of the load, or of --as-of.",
        ),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="FILE", help="API keys (recsys keys add); nobody else gets in.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate chain in PEM form, for HTTPS.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's key in PEM form.")
    ] = None,
    log_format: Annotated[
        Literal["text", "json"], typer.Option("--log-format", help="Form of the lines of the log.")
    ] = "text",
    drain: Annotated[
        float,
        typer.Option("--drain", min=0, metavar="SECONDS", help="After SIGTERM, to answer on while /readyz says 503."),
    ] = 2,
    max_wait: Annotated[
        float | None,
        typer.Option(
            "--max-wait",
            min=0,
            metavar="SECONDS",
            help="Under lasting overload, who would wait longer for a turn gets 503 at once; 0.01 if not given.",
        ),
    ] = None,
    rules: RulesFile = None,
    prices: Annotated[
        Path | None,
        typer.Option(
            "--prices", metavar="FILE", help="prices.json of recsys campaign plan: /decide says whom to contact how."
        ),
    ] = None,
    traces: Annotated[
        str | None,
        typer.Option(
            "--traces",
            metavar="URL",
            help="A collector of OpenTelemetry, to be told of requests and stages, of no customer: "
            "http://HOST:4318/v1/traces.",
        ),
    ] = None,
    trace_share: Annotated[
        float | None,
        typer.Option(
            "--trace-share",
            min=0,
            max=1,
            metavar="SHARE",
            help="Which part to trace of the requests whose caller has not decided (traceparent); 0.01 if not given.",
        ),
    ] = None,
) -> None:
    """Answer over HTTP; GET /openapi.json says what. Stops on Ctrl-C or SIGTERM.

    With --lake, customers are known by {"customer_id": …}; with or without it, {"customer": {table: [rows]}} brings
    a customer's own data. With --store, its customers are the known ones, events, consents and erasures come in,
    and --lake is not read. Without --keys it listens on the loopback only and lets in every process of the machine.
    """
    from serving.access import Access
    from serving.launch import launch, workers_of
    from serving.served import Served

    served = Served(
        bundle=bundle and absolute(bundle),
        registry=registry and absolute(registry),
        lake=lake and absolute(lake),
        store=store and _address_of(store),
        as_of=_day(as_of),
        clock=clock,
        max_wait=max_wait,
        drain=drain,
        rules=rules and absolute(rules),
        prices=prices and absolute(prices),
        traces=traces,
        trace_share=trace_share,
        workers=workers_of(workers),
    )
    access = Access(host, port, keys, tls_cert, tls_key, log_format)
    launch(served, access=access, workers=served.workers)


def _day(text: str | None) -> date | None:
    """The day of an option; its reader is imported only for one, to start soon."""
    if text is None:
        return None
    from recsys.bundle.fits import parse_day

    return parse_day(text)


def _address_of(store: str) -> str:
    """A store as the workers find it; ConfigError for what is none."""
    if "://" not in store:
        return absolute(store)
    from serving.store.engine import url_of

    return url_of(store).render_as_string(hide_password=False)


def report(
    bundle: BundlePath,
    lake: LakeOption = None,
    evaluation: Annotated[
        Path | None, typer.Option("--evaluation", metavar="FILE", help="What `evaluate --json` printed.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", metavar="OUT", help="Directory that `score` wrote.")
    ] = None,
) -> None:
    """What was trained, how good it is beside the baselines, what a few customers are recommended, what to try next."""
    from serving.report import print_report

    print_report(bundle, lake, evaluation, scores)
