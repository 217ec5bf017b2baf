# Values that statistics.test.ts compares with, from SciPy and NumPy. Run again: python reference.py > reference.json
# Needs numpy and scipy (made with numpy 2 and scipy 1.17). Where there is more than one way to a value, another way than the package's is taken:
# the variance of ratios by the jackknife over users, Lambda by integrating the mixture, the Bayes factor user by user, Fieller's ends by root finding.
import json

import numpy as np
from scipy import integrate, optimize, special, stats

out = {}
out["logGamma"] = [[x, float(special.gammaln(x))] for x in (0.1, 0.5, 1.0, 3.7, 42.0, 1e4, 1e6)]
out["upperGamma"] = [[a, x, float(special.gammaincc(a, x))] for a, x in ((0.5, 0.1), (0.5, 8.0), (0.5, 40.0), (3.0, 2.0), (10.0, 25.0), (100.0, 90.0))]
out["chiSquareTail"] = [[x, k, float(stats.chi2.sf(x, k))] for x, k in ((3.84, 1), (10.8, 1), (2.2, 3), (30.0, 4), (1015.0, 999))]
out["normalTwoSided"] = [[z, float(2 * stats.norm.sf(z))] for z in (0.0, 0.3, 1.959964, 3.0, 6.0, 12.0)]
out["normalQuantile"] = [[p, float(stats.norm.ppf(p))] for p in (1e-12, 0.001, 0.02425, 0.2, 0.5, 0.8, 0.975, 0.99999)]

rng = np.random.default_rng(7)


def arm(users, lift):
    taste = rng.gamma(2.0, 0.5, users)
    visits = 1 + rng.poisson(3 * taste)
    before = rng.poisson(3 * taste)
    rows = []
    for n, n0, t in zip(10 * visits, 10 * before, taste):
        p = min(0.5, 0.06 * (1 + lift) * (0.5 + t / 2))
        c, c0 = rng.binomial(n, p), rng.binomial(n0, p / (1 + lift))
        o, o0 = rng.binomial(c, 0.25), rng.binomial(c0, 0.25)
        g, g0 = np.round(rng.gamma(4, 8, o).sum(), 2), np.round(rng.gamma(4, 8, o0).sum(), 2)
        rows.append([n, c, o, g, n0, c0, o0, g0])
    return np.array(rows, dtype=float)


control, treatment = arm(60, 0.0), arm(70, 0.15)
out["control"], out["treatment"] = control.tolist(), treatment.tolist()


def ratio(v, y, x):
    return v[:, y].sum() / (len(v) if x is None else v[:, x].sum())


def jackknife(v, y, x):
    n = len(v)
    left = np.array([ratio(np.delete(v, i, 0), y, x) for i in range(n)])
    return (n - 1) / n * ((left - left.mean()) ** 2).sum()


METRICS = {"ctr": (1, 0), "cvr": (2, 1), "ctcvr": (2, 0), "gmv": (3, None)}
out["metrics"] = {}
for name, (y, x) in METRICS.items():
    def linear(v, yy, xx, r, scale):
        return v[:, yy] / scale if xx is None else (v[:, yy] - r * v[:, xx]) / scale

    rows = {}
    both = np.vstack([control, treatment])
    r0 = ratio(both, y + 4, None if x is None else x + 4)
    scale0 = 1.0 if x is None else both[:, x + 4].mean()
    arms = []
    for v in (control, treatment):
        r = ratio(v, y, x)
        z = linear(v, y, x, r, 1.0 if x is None else v[:, x].mean())
        z0 = linear(v, y + 4, None if x is None else x + 4, r0, scale0)
        arms.append((r, z, z0))
        rows.setdefault("value", []).append(float(r))
        rows.setdefault("delta", []).append(float(z.var(ddof=1) / len(v)))
        rows.setdefault("jackknife", []).append(float(jackknife(v, y, x)))
    # CUPED as the regression of z - mean on z0 - mean, weighted by 1/n^2 as the variance of the difference is
    n = [len(a[1]) for a in arms]
    zc = np.concatenate([(z - z.mean()) / np.sqrt(k * (k - 1)) for (_, z, _), k in zip(arms, n)])
    bc = np.concatenate([(b - b.mean()) / np.sqrt(k * (k - 1)) for (_, _, b), k in zip(arms, n)])
    theta = np.linalg.lstsq(bc[:, None], zc, rcond=None)[0][0]
    centre = np.concatenate([a[2] for a in arms]).mean()
    rows["cupedValue"] = [float(r - theta * (b.mean() - centre)) for r, _, b in arms]
    rows["cupedVariance"] = [float((z - theta * b).var(ddof=1) / len(z)) for _, z, b in arms]
    (rc, vc), (rt, vt) = ((arms[i][0], rows["delta"][i]) for i in (0, 1))
    d, V = rt - rc, vc + vt
    z = d / np.sqrt(V)
    rows["p"] = float(2 * stats.norm.sf(abs(z)))

    def ends(width):
        f = lambda rho: (rt - rho * rc) ** 2 - width**2 * (vt + rho**2 * vc)
        lo = optimize.brentq(f, -5, rt / rc, xtol=1e-14)
        hi = optimize.brentq(f, rt / rc, 50, xtol=1e-14)
        return [lo - 1, hi - 1]

    # Lambda: the likelihood ratio of the relative difference under N(0, tau^2) against 0, integrated numerically
    tau = 0.1
    v, rel = V / rc**2, d / rc
    lam = integrate.quad(lambda m: stats.norm.pdf(rel, m, np.sqrt(v)) * stats.norm.pdf(m, 0, tau), -5, 5, epsabs=0, epsrel=1e-12, limit=500, points=[0, rel])[0]
    lam /= stats.norm.pdf(rel, 0, np.sqrt(v))
    rows["sequentialP"] = float(min(1, 1 / lam))

    def loglam(k):
        x = k * np.sqrt(v)
        return stats.norm.logpdf(x, 0, np.sqrt(v + tau**2)) - stats.norm.logpdf(x, 0, np.sqrt(v)) - np.log(20)

    width = optimize.brentq(loglam, 0, 50, xtol=1e-13)
    rows["sequentialWidth"] = float(width)
    z95 = float(stats.norm.ppf(0.975))
    rows["fixedDifference"] = [float(d - z95 * np.sqrt(V)), float(d + z95 * np.sqrt(V))]
    rows["fixedLift"] = [float(e) for e in ends(z95)]
    rows["sequentialLift"] = [float(e) for e in ends(width)] if rc > width * np.sqrt(vc) else None
    out["metrics"][name] = rows

# Bayes factor of a sequence of users, one predictive probability at a time
srm = []
for counts, weights in (([520, 480], [1, 1]), ([5300, 4700], [1, 1]), ([900, 2100, 0], [3, 6, 1]), ([100, 100, 100], [1, 1, 1])):
    shares = np.array(weights) / sum(weights)
    prior = 10000 * shares
    seen = np.zeros(len(counts))
    logbf = 0.0
    for arm_index, count in enumerate(counts):
        for _ in range(count):
            logbf += np.log((prior[arm_index] + seen[arm_index]) / (prior.sum() + seen.sum())) - np.log(shares[arm_index])
            seen[arm_index] += 1
    chi = stats.chisquare(counts, sum(counts) * shares)
    srm.append({"counts": counts, "weights": weights, "p": float(min(1, np.exp(-logbf))), "chiSquareP": float(chi.pvalue)})
out["sampleRatio"] = srm
print(json.dumps(out, indent=1))
