import json

from loadtests.costs import scaling_page as page


def test_the_page_about_scaling_is_made_of_its_figures() -> None:
    figures = page.Figures(**json.loads(page.FIGURES.read_text()))

    assert page.PAGE.read_text() == page.render(figures), (
        "run `python -m loadtests.costs.scaling_page`"
    )


def test_gateways_are_counted_by_what_runs_out_first() -> None:
    one = page.Gateway(
        spans_per_cpu_second=10_000,
        measured_at="",
        undecided_traces_max=20_000,
        decision_wait_seconds=30,
    )

    # Of a core, 0.7 is used: 7,000 spans/s. 20,000 traces that wait 30 s each: 667 new ones a second.
    assert one.needed(spans_per_second=70_000, traces_per_second=600) == 10
    assert one.needed(spans_per_second=7_000, traces_per_second=6_000) == 9


def test_the_page_says_how_many_connections_the_autoscaler_can_open() -> None:
    replicas, pool = page.autoscaling()

    assert f"{replicas} × {pool} = {replicas * pool}" in page.PAGE.read_text()
