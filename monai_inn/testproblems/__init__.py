"""Problems whose posteriors are known, on which methods are measured."""

_CLASSES = {
    "cause_and_effect": "sites:CauseAndEffect",
    "complex_roots": "several_modes:ComplexRoots",
    "disc_ct": "tomography:DiscCT",
    "eight_modes": "several_modes:EightModes",
    "epidemic": "sir:Epidemic",
    "gaussian_field": "fields:GaussianField",
    "gaussian_mean": "series:GaussianMean",
    "gaussian_uniform": "gaussian:GaussianUniform",
    "inverse_ballistics": "ballistics:InverseBallistics",
    "inverse_kinematics": "planar:InverseKinematics",
    "lesion_field": "fields:LesionField",
    "linear_gaussian": "gaussian:LinearGaussian",
    "linear_trend": "series:LinearTrend",
    "outbreak": "outbreaks:Outbreak",
    "reported_cases": "outbreaks:ReportedCases",
    "ricker": "daily:Ricker",
    "slcp": "slcp:SimpleLikelihood",
    "two_moons": "planar:TwoMoons",
}
PROBLEMS = {name: f"{__name__}.{place}" for name, place in _CLASSES.items()}
