"""Simulated launches, always marked EXERCISE: for demonstrations, tests and the training of watch floors.

The way of an exercise: `announcements` reads what nations said in public about real launches; `fit` makes a textbook
flight of site, azimuth, range and apogee; `sensors` says what a nation's generic sensors see of it; `scenario` reads
which launches, nations and scripted moments make an exercise; `timeline` puts all of it in order of time; `player`
writes it in each nation's own format and reports it, at the rate asked for.

Nothing here describes a real sensor or a real missile: the sensors' figures are invented, and a flight is fitted to
announced values only.
"""
