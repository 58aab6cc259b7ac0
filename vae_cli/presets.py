"""Named sets of settings: what `--preset` changes against the defaults of the configuration."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "model": {"width": 16, "flow": {"width": 32, "blocks": 1, "solver_steps": 4, "refiner_width": 8}},
        "objective": {"kl_warmup_steps": 10},
        "training": {
            "steps": 40, "batch_size": 16, "warmup_steps": 5, "save_every": 10, "validate_every": 10,
            "log_every": 5, "preview_every": 20,
        },
    },
    "flat": {
        "model": {"latents": [{"stride": "global", "layers": 1, "channels": 32}]},
        "training": {"time": "4m", "flow_optimizer": "adamw"},
    },
    "small": {
        "data": {"patches": "auto"}, "objective": {"kl_weight": 0.1, "latent_noise": "auto"},
        "training": {"time": "4m"},
    },
    "base": {
        "data": {"patches": "auto"},
        "model": {"width": 128, "blocks": 2,
                  "flow": {"net": "transformer", "width": 512, "blocks": 12, "refiner_width": 64}},
        "objective": {"kl_weight": 0.1, "latent_noise": "auto"},
        "training": {"steps": 200_000, "batch_size": 256, "learning_rate": 5e-4, "flow_learning_rate": 5e-4,
                     "warmup_steps": 2000, "ema_decay": 0.9999, "save_every": 5000, "validate_every": 2500,
                     "preview_every": 5000},
    },
    "nll": {
        "model": {
            "width": 32,
            "latents": [
                {"stride": "global", "layers": 2, "channels": 16},
                {"stride": 4, "layers": 3, "channels": 8},
                {"stride": 2, "layers": 3, "channels": 4},
            ],
        },
        # Without free nats up to two layers carry nothing.
        "objective": {"free_nats": 1.0, "importance_samples": 4},
        "training": {"time": "8m", "flow_share": 0.0},
    },
}  # fmt: skip
