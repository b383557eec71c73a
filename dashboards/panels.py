"""A thin layer over the SDK's panel builders: what each of our panels has, written once.

A panel here has a title, a description that says what good looks like and what to do, a unit, the templated
data source, and queries with a legend. Only the types that the viewer draws too are offered. Threshold
numbers come from limits.py.
"""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import NamedTuple, TypeVar

from dashboards.foundation import (
    common,
    common_models,
    dashboard,
    heatmap,
    heatmap_models,
    models,
    prometheus,
    prometheus_models,
    stat,
    statetimeline,
    table,
    timeseries,
)

DATASOURCE = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")

GREEN, AMBER, RED, BLUE, GREY, PURPLE = (
    "green",
    "orange",
    "red",
    "blue",
    "text",
    "purple",
)
HALF, THIRD, QUARTER, FULL = 12, 8, 6, 24
"""Widths in columns of Grafana's grid of 24."""

Chart = TypeVar(
    "Chart", timeseries.Panel, stat.Panel, table.Panel, heatmap.Panel, statetimeline.Panel
)
Panel = timeseries.Panel | stat.Panel | table.Panel | heatmap.Panel | statetimeline.Panel


class Query(NamedTuple):
    """One PromQL expression. exemplar: dots on the line that lead to traces."""

    expr: str
    legend: str = ""
    exemplar: bool = False


class Link(NamedTuple):
    title: str
    url: str


class Limit(NamedTuple):
    """From this value on the panel has another colour."""

    value: float
    color: str = RED


def at(value: float | None, color: str = RED) -> list[Limit]:
    """Return a limit at this value, and none when there is no value."""
    return [] if value is None else [Limit(value, color)]


def graph(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    width: int = THIRD,
    height: int = 8,
    limits: Sequence[Limit] = (),
    links: Sequence[Link] = (),
    colors: Mapping[str, str] | None = None,
    dashed: Sequence[str] = (),
    stacked: bool = False,
    bars: bool = False,
    top: float | None = None,
) -> timeseries.Panel:
    """Lines over time.

    limits: drawn as dashed lines. colors: fixed ones, by a pattern of the series' name. dashed: names of
    series that are limits themselves. top: the axis shows at least this much, so that noise looks small.
    """
    panel = (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(60 if bars else 25 if stacked else 8)
        .show_points(common_models.VisibilityMode.NEVER)
        .span_nulls(False)
        .axis_soft_min(0)
        .legend(_legend())
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_models.TooltipDisplayMode.MULTI)
            .sort(common_models.SortOrder.DESCENDING)
        )
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    )
    if bars:
        panel.draw_style(common_models.GraphDrawStyle.BARS)
    if stacked:
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if top is not None:
        panel.axis_soft_max(top)
    if limits:
        panel.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED)
        )
    for pattern, color in (colors or {}).items():
        panel.override_by_regexp(pattern, [_fixed_color(color)])
    for name in dashed:
        style = {"fill": "dash", "dash": [8, 6]}
        panel.override_by_name(
            name,
            [
                _fixed_color(RED),
                models.DynamicConfigValue(id_val="custom.lineStyle", value=style),
                models.DynamicConfigValue(id_val="custom.fillOpacity", value=0),
            ],
        )
    return _dressed(
        panel,
        title,
        description,
        queries,
        unit=unit,
        width=width,
        height=height,
        limits=limits,
        links=links,
    )


def number(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    width: int = QUARTER,
    height: int = 4,
    limits: Sequence[Limit] = (),
    base: str = GREEN,
    links: Sequence[Link] = (),
    words: Mapping[str, tuple[str, str]] | None = None,
    nothing: str = "",
    other_units: Mapping[str, tuple[str, Sequence[Limit]]] | None = None,
) -> stat.Panel:
    """The latest value of each series, large. base: the colour below the first limit.

    words: text and colour instead of a value. nothing: said when there is no series.
    other_units: series that are measured in something else, by name, with their own limits.
    """
    panel = (
        stat.Panel()
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .color_mode(common_models.BigValueColorMode.VALUE)
        .text_mode(common_models.BigValueTextMode.VALUE_AND_NAME)
        .justify_mode(common_models.BigValueJustifyMode.AUTO)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    if words:
        panel.mappings([_words(words)])
    if nothing:
        panel.no_value(nothing)
    for name, (other, others) in (other_units or {}).items():
        steps = {"mode": "absolute", "steps": [step.to_json() for step in _steps(GREEN, others)]}
        panel.override_by_name(
            name,
            [
                models.DynamicConfigValue(id_val="unit", value=other),
                models.DynamicConfigValue(id_val="thresholds", value=steps),
            ],
        )
    return _dressed(
        panel,
        title,
        description,
        queries,
        unit=unit,
        width=width,
        height=height,
        limits=limits,
        links=links,
        base=base,
    )


def rows(
    title: str,
    description: str,
    query: Query,
    *,
    columns: Mapping[str, str],
    unit: str = "short",
    width: int = THIRD,
    height: int = 8,
    limits: Sequence[Limit] = (),
    column_links: Mapping[str, Sequence[Link]] | None = None,
    nothing: str = "none",
    decimals: int | None = None,
    value: str | None = "Value",
) -> table.Panel:
    """One line a series, largest first, of an instant query.

    columns: label → heading, in this order; what is not named is left out. value: the heading of the value
    column, None: without it. column_links: by heading. nothing: said when there is no series.
    """
    shown = {**columns, **({"Value": value} if value else {})}
    panel = (
        table.Panel()
        .cell_height(common_models.TableCellHeight.SM)
        .no_value(nothing)
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {
                        name: True
                        for name in ("Time", "env", "service", "job", "Value")
                        if name not in shown
                    },
                    "indexByName": {name: index for index, name in enumerate(shown)},
                    "renameByName": {
                        name: heading for name, heading in shown.items() if heading != name
                    },
                },
            )
        )
    )
    if value:
        panel.sort_by([common.TableSortByFieldState().display_name(value).desc(True)])
    if decimals is not None:
        panel.decimals(decimals)
    for heading, links in (column_links or {}).items():
        panel.override_by_name(
            heading, [models.DynamicConfigValue(id_val="links", value=_as_values(links))]
        )
    return _dressed(
        panel,
        title,
        description,
        [query],
        unit=unit,
        width=width,
        height=height,
        limits=limits,
        instant=True,
    )


def heat(
    title: str,
    description: str,
    query: Query,
    *,
    unit: str,
    width: int = HALF,
    height: int = 8,
) -> heatmap.Panel:
    """How observations spread over the buckets of a histogram, over time."""
    panel = (
        heatmap.Panel()
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_models.HeatmapColorMode.SCHEME)
            .scheme("Spectral")
            .steps(64)
            .exponent(0.5)
            .fill("dark-orange")
            .reverse(False)
        )
        .y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(common_models.AxisPlacement.LEFT))
        .exemplars_color("rgba(255,0,255,0.7)")
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .cell_gap(1)
    )
    return _dressed(
        panel,
        title,
        description,
        [query],
        unit=unit,
        width=width,
        height=height,
        form=prometheus_models.PromQueryFormat.HEATMAP,
    )


def states(
    title: str,
    description: str,
    *queries: Query,
    words: Mapping[str, tuple[str, str]],
    width: int = HALF,
    height: int = 5,
    links: Sequence[Link] = (),
) -> statetimeline.Panel:
    """Which state something was in, over time. words: value → (text, colour)."""
    panel = (
        statetimeline.Panel()
        .merge_values(True)
        .show_value(common_models.VisibilityMode.AUTO)
        .row_height(0.8)
        .mappings([_words(words)])
        .legend(_legend())
    )
    return _dressed(
        panel, title, description, queries, unit="none", width=width, height=height, links=links
    )


def _dressed(
    panel: Chart,
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str,
    width: int,
    height: int,
    limits: Sequence[Limit] = (),
    links: Sequence[Link] = (),
    base: str = GREEN,
    instant: bool = False,
    form: prometheus_models.PromQueryFormat | None = None,
) -> Chart:
    panel.title(title).description(description).datasource(DATASOURCE)
    panel.unit(unit).span(width).height(height)
    panel.thresholds(
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps(_steps(base, limits))
    )
    if links:
        panel.data_links([dashboard.DashboardLink(title).url(url) for title, url in links])
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        target = (
            prometheus.Dataquery()
            .ref_id(letter)
            .datasource(DATASOURCE)
            .expr(query.expr)
            .legend_format(query.legend or "__auto")
            .editor_mode(prometheus_models.QueryEditorMode.CODE)
        )
        if instant:
            target.instant().format(prometheus_models.PromQueryFormat.TABLE)
        else:
            target.range().format(form or prometheus_models.PromQueryFormat.TIME_SERIES)
        if query.exemplar:
            target.exemplar(True)
        panel.with_target(target)
    return panel


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(True)
    )


def _steps(base: str, limits: Sequence[Limit]) -> list[models.Threshold]:
    above = [models.Threshold(value=value, color=color) for value, color in limits]
    return [models.Threshold(value=None, color=base), *above]


def _fixed_color(color: str) -> models.DynamicConfigValue:
    return models.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})


def _as_values(links: Sequence[Link]) -> list[dict[str, str]]:
    return [{"title": title, "url": url} for title, url in links]


def _words(words: Mapping[str, tuple[str, str]]) -> models.ValueMap:
    return models.ValueMap(
        options={
            value: models.ValueMappingResult(text=said, color=color, index=index)
            for index, (value, (said, color)) in enumerate(words.items())
        }
    )
