"""Stage cluster as Prefect tasks."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.cluster.make_fit import extend, make_fit
from tasks.cluster.match_fits import match_fits
from tasks.cluster.sample import draw_samples

TASKS = {
    draw_samples: task(name="draw a sample", cache_policy=NO_CACHE)(draw_samples),
    make_fit: task(name="make a fit", cache_policy=NO_CACHE)(make_fit),
    extend: task(name="extend the fit", cache_policy=NO_CACHE)(extend),
    match_fits: task(name="match the fits", cache_policy=NO_CACHE)(match_fits),
}
