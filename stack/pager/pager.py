"""What the pager does with a notification and with silence: no HTTP here, and no waiting.

Beats of Watchdog are heard, not stored (4,320 a day would push the pages out); everything else is stored.
"""

from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from stack.pager.deadman import Change, DeadMan, InvalidBeat, beat_of
from stack.pager.metrics import Metrics
from stack.pager.payload import Alert, Payload
from stack.pager.store import Notification, Store, Watchdog

DEADMAN_ALERT = "DeadMansSwitch"
DEADMAN_GROUP_KEY = f'{{}}:{{alertname="{DEADMAN_ALERT}"}}'

# Alertmanager repeats a firing group every repeat_interval. A group that it has not repeated by then ended
# without a word: an alert that resolves while another inhibits it is never announced as resolved.
# repeat_interval of each route in alertmanager.yml, and a quarter more.
LAPSE_SECONDS = {"pager": 5 * 3600.0, "ticket": 30 * 3600.0, "second_channel": 30 * 3600.0}

log = structlog.get_logger("pager")


class Pager:
    """clock: seconds since 1970. has_deadman: whether Watchdog is expected here."""

    def __init__(
        self, store: Store, *, clock: Callable[[], float], has_deadman: bool = True
    ) -> None:
        self.store = store
        self.clock = clock
        self.deadman = self._recall() if has_deadman else None
        self.metrics = Metrics(
            beat_age_seconds=self.beat_age_seconds if has_deadman else None,
            is_dead=(lambda: self.is_dead) if has_deadman else None,
        )
        self._unrecorded: list[Change] = []

    def _recall(self) -> DeadMan:
        heard = self.store.watchdog()
        return DeadMan(
            watching_since=self.clock(),
            last_beat=heard.last_beat if heard else None,
            is_dead=any(
                group.group_key == DEADMAN_GROUP_KEY and group.status == "firing"
                for group in self.store.last_of_each_group()
            ),
        )

    @property
    def is_dead(self) -> bool:
        return self.deadman is not None and self.deadman.is_dead

    def beat_age_seconds(self) -> float | None:
        if self.deadman is None or self.deadman.last_beat is None:
            return None
        return self.clock() - self.deadman.last_beat

    def receive(self, receiver: str, payload: Payload) -> None:
        """Raises InvalidBeat for a Watchdog without a stamp, sqlite3.Error when nothing was stored."""
        if receiver == "deadman" and payload.status == "firing":
            self._hear([alert for alert in payload.alerts if alert.status == "firing"])
        else:
            self.store.add(
                received_at=self.clock(),
                receiver=receiver,
                status=payload.status,
                group_key=payload.group_key,
                alerts=payload.alerts,
                truncated=payload.truncated,
                silent_since=self._silent_since(),
            )
            log.info(
                "notification_received",
                receiver=receiver,
                notification_status=payload.status,  # `status` alone is that of an HTTP answer
                alerts=sorted({alert.name for alert in payload.alerts}),
                truncated=payload.truncated,
            )
        self.metrics.notifications.labels(receiver, payload.status).inc()

    def _silent_since(self) -> float | None:
        if self.deadman is None or not self.deadman.is_dead:
            return None
        return self.deadman.last_beat or 0.0

    def _hear(self, watchdogs: list[Alert]) -> None:
        if self.deadman is None:
            raise InvalidBeat("this pager has no dead-man: send Watchdog to the first pager")
        beats = [(beat_of(alert.annotations), alert) for alert in watchdogs]
        beat, newest = max(beats, key=lambda pair: pair[0])
        self.look()
        self.deadman.hear(beat, self.clock())
        self.store.hear(
            Watchdog(
                last_beat=self.deadman.last_beat or beat,
                labels=newest.labels,
                annotations=newest.annotations,
            )
        )
        self.look()

    def look(self) -> None:
        """Decide whether Prometheus is dead, and page when that changes. Raises sqlite3.Error.

        What could not be recorded is recorded at the next call.
        """
        if self.deadman is None:
            return
        change = self.deadman.look(self.clock())
        if change is not None:
            self._unrecorded.append(change)
            log.warning("deadman_changed", change=change, last_beat=self.deadman.last_beat)
        while self._unrecorded:
            self._record(self.deadman, self._unrecorded[0])
            self._unrecorded.pop(0)

    def _record(self, deadman: DeadMan, change: Change) -> None:
        now = self.clock()
        if change == "died":
            self.store.doubt_resolutions(silent_since=deadman.last_beat or 0.0)
            alert = self._deadman_alert(deadman, now)
        else:
            alert = self._fired_alert().model_copy(
                update={"status": "resolved", "ends_at": datetime.fromtimestamp(now, UTC)}
            )
        self.store.add(
            received_at=now,
            receiver="pager",
            status=alert.status,
            group_key=DEADMAN_GROUP_KEY,
            alerts=(alert,),
        )

    def _fired_alert(self) -> Alert:
        """The dead-man's page that is firing now."""
        return next(
            group.alerts[0]
            for group in self.store.last_of_each_group()
            if group.group_key == DEADMAN_GROUP_KEY
        )

    def _deadman_alert(self, deadman: DeadMan, now: float) -> Alert:
        """The page that no Alertmanager can send. Its links are those of Watchdog."""
        heard = self.store.watchdog()
        labels, annotations = (heard.labels, heard.annotations) if heard else ({}, {})
        last = (
            "No beat was ever heard."
            if deadman.last_beat is None
            else f"The last beat was of {datetime.fromtimestamp(deadman.last_beat, UTC):%F %T} UTC."
        )
        links = ("runbook_url", "dashboard_url")
        return Alert(
            status="firing",
            labels={
                "alertname": DEADMAN_ALERT,
                "severity": "page",
                "kind": "meta",
                "domain": "telemetry",
                "env": labels.get("env", "unknown"),
                "service": "monitoring",
                "scope": "monitoring",
            },
            annotations={
                "summary": "Monitoring is silent: no other page can be relied on",
                "description": f"{last} Prometheus, its rules, Alertmanager or the way from there"
                " to this pager is dead. What resolves meanwhile is unknown, not mended.",
                **{name: annotations[name] for name in links if name in annotations},
            },
            starts_at=datetime.fromtimestamp(now, UTC),
        )

    def firing(self) -> list[Notification]:
        """Groups that Alertmanager last called firing and has not forgotten since, newest first."""
        now = self.clock()
        return [
            group
            for group in self.store.last_of_each_group()
            if group.status == "firing"
            and group.receiver in LAPSE_SECONDS
            and (
                # With a dead Prometheus or Alertmanager nothing is repeated, and nothing has ended.
                self.is_dead
                or now - group.received_at.timestamp() <= LAPSE_SECONDS[group.receiver]
            )
        ]

    def unknown(self) -> list[Notification]:
        """Groups that were called resolved while Prometheus was silent; none once it is back."""
        if not self.is_dead:
            return []
        return [
            group
            for group in self.store.last_of_each_group()
            if any(alert.note for alert in group.alerts) and group.receiver in LAPSE_SECONDS
        ]
