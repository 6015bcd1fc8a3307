"""A small release policy of KOR that keeps the promises which it ships, and tests that try all of its rules."""

from __future__ import annotations

from typing import Final

from broker.demo.world import shipped_policy

_RULES: Final = """
- id: TRACKS
  effect: release
  to: [JPN]
  when: 'body == "track"'
  give: {{when_observed: exact, track_time: exact, track_place: {place}, motion: {place}}}
  reason: r
- {{id: HOLD, effect: limit, to: [JPN], when: '"LATER" in label.caveats', delay_s: 4, reason: r}}
- id: OURS
  effect: deny
  to: [JPN]
  when: '"KOR-ONLY" in label.caveats || "ORCON" in label.caveats'
  reason: r
- id: AIR
  effect: deny
  to: [JPN]
  when: 'content.track.source.kind == SensorKind.SENSOR_KIND_AIRBORNE_RADAR'
  reason: r
"""
TESTS: Final = """
policy: release.yaml
base:
  precedence: PRECEDENCE_IMMEDIATE
  label: {policy: KOR, classification: CLASSIFICATION_SECRET, releasable_to: [JPN, KOR]}
  content:
    header: {observed_at: '2026-10-03T22:26:00Z', lineage: {kind: LINEAGE_KIND_RAW}}
    track:
      state:
        frame: FRAME_ECEF_WGS84
        valid_at: '2026-10-03T22:26:00Z'
        position_m: [-3964948.7, 3633206.1, 4679764.7]
        velocity_mps: [-2802.5, -3128.5, 1420.5]
tests:
- name: a track goes
  expect: {JPN: {decision: release, rules: [TRACKS], delay_s: 0}}
- name: one that is marked goes late
  with: {label: {caveats: [LATER]}}
  expect: {JPN: {decision: release, rules: [HOLD, TRACKS], delay_s: 4}}
- name: what is ours stays
  with: {label: {caveats: [KOR-ONLY]}}
  expect: {JPN: {decision: deny, rules: [OURS, TRACKS]}}
- name: nobody hears of the aircraft
  with: {content: {track: {source: {kind: SENSOR_KIND_AIRBORNE_RADAR}}}}
  expect: {JPN: {decision: deny, rules: [AIR, TRACKS]}}
"""


def small_policy(version: int, place: str = "1km", *, expires: str = "2028-01-01T00:00:00Z") -> str:
    """Return its document: tracks to JPN as exactly as `place` says. The groups are those that KOR ships."""
    head = shipped_policy("KOR").partition("\nrules:\n")[0]
    head = head.replace("\nversion: 1\n", f"\nversion: {version}\n")
    head = head.replace("\nexpires: 2028-01-01T00:00:00Z\n", f"\nexpires: {expires}\n")
    return f"{head}\nrules:\n{_RULES.format(place=place)}"
