"""Screens: simulated, public, and too large for the memory."""

from scvi_sams.data._public import (
    frangieh_2021,
    jiang_2024,
    kang_2018,
    mcfaline_figueroa_2023,
    norman_2019,
    op3,
    papalexi_2021,
    recipe,
    replogle_2022_k562,
    srivatsan_2020,
)
from scvi_sams.data._simulate import simulate
from scvi_sams.data._simulate_gaussian import simulate_gaussian
from scvi_sams.data._simulate_poisson import simulate_poisson
from scvi_sams.data._store import open_store

__all__ = [
    "frangieh_2021",
    "jiang_2024",
    "kang_2018",
    "mcfaline_figueroa_2023",
    "norman_2019",
    "op3",
    "open_store",
    "papalexi_2021",
    "recipe",
    "replogle_2022_k562",
    "simulate",
    "simulate_gaussian",
    "simulate_poisson",
    "srivatsan_2020",
]
