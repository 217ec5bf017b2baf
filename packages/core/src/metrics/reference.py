"""Writes reference.json beside it: metric values of scikit-learn for the tests. Run: python reference.py (needs scikit-learn, scipy)."""

import json
import pathlib

import numpy as np
import sklearn
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss, roc_auc_score

rng = np.random.default_rng(7)
cases = []
for rows, levels, groups in [(40, 5, 4), (500, 30, 40), (3000, 0, 200), (3000, 12, 100)]:
    labels = (rng.random(rows) < 0.3).astype(int)
    scores = np.clip(0.25 + 0.3 * labels + 0.25 * rng.standard_normal(rows), 0.0, 1.0).astype(np.float32)
    if levels:  # few distinct values: ties
        scores = (np.round(scores * levels) / levels).astype(np.float32)
    group = rng.integers(0, groups, rows)
    weighted, counted = 0.0, 0
    for g in np.unique(group):
        member = group == g
        if 0 < labels[member].sum() < member.sum():
            weighted += roc_auc_score(labels[member], scores[member]) * member.sum()
            counted += member.sum()
    observed, predicted = calibration_curve(labels, scores, n_bins=10, strategy="uniform")
    # DeLong's variance by its definition, over all pairs.
    pos, neg = scores[labels == 1].astype(float), scores[labels == 0].astype(float)
    psi = (pos[:, None] > neg[None, :]) + 0.5 * (pos[:, None] == neg[None, :])
    variance = psi.mean(1).var(ddof=1) / len(pos) + psi.mean(0).var(ddof=1) / len(neg)
    cases.append(
        {
            "labels": labels.tolist(),
            "scores": scores.astype(float).tolist(),
            "groups": group.tolist(),
            "auc": roc_auc_score(labels, scores),
            "gauc": weighted / counted,
            "logLoss": log_loss(labels, scores.astype(float)),
            "observed": observed.tolist(),
            "predicted": predicted.tolist(),
            "delongStandardError": float(np.sqrt(variance)),
        }
    )
path = pathlib.Path(__file__).with_name("reference.json")
path.write_text(json.dumps({"madeWith": f"scikit-learn {sklearn.__version__}, numpy {np.__version__}", "cases": cases}) + "\n")
