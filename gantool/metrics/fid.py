"""How far the samples are from the data, as Gaussians in a space of features."""

from gantool.features.sets import Moments, moments
from gantool.game.types import Dataset, Trained
from gantool.metrics.featured import Compared


class FID(Compared):
    """`fid`: |m - m'|^2 + tr(S + S' - 2 sqrt(S S')) of the features' means and covariances (Heusel et al. 2017, eq. 6).

    It is the larger the fewer samples there are, so only values from equally many compare (Chong and Forsyth 2020).
    """

    name, columns = "fid", ("fid",)

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        reference = self.of_data(trained, dataset)
        self.compared = len(reference.order)
        fakes = moments(self.of_samples(trained).vectors.split(1000), trained.device)
        return {"fid": frechet_distance(fakes, reference.moments())}


def frechet_distance(one: Moments, other: Moments) -> float:
    """By torch-fidelity, from eigenvalues in float64; NaN where the moments are not finite."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    if not all(bool(part.isfinite().all()) for part in (*one, *other)):
        return float("nan")
    sides = [{"mu": side.mean.numpy(), "sigma": side.covariance.numpy()} for side in (one, other)]
    return float(fid_statistics_to_metric(*sides, verbose=False)[KEY_METRIC_FID])
