"""The names that flags may have, apart from what they mean, which ``--help`` need not import; a test compares."""

LIKELIHOODS = (
    "gaussian",
    "student_t",
    "laplace",
    "huber",
    "charbonnier",
    "poisson",
    "negative_binomial",
    "log_normal",
    "bernoulli",
    "continuous_bernoulli",
    "beta",
    "categorical",
    "discretized_logistic",
    "tokens",
    "columns",
)
PRECISIONS = ("fixed", "learned", "per_dimension", "predicted", "optimal")
WEIGHTINGS = ("constant", "linear", "sigmoid", "cosine", "cyclical", "capacity", "free_bits", "geco", "pi")
OBJECTIVES = ("elbo", "iwae", "stl", "dreg", "miwae", "piwae", "vr")
PRIORS = ("standard_normal", "mixture", "vamp", "flow", "autoregressive", "conditional", "categorical")
POSTERIORS = ("gaussian", "full_covariance", "iaf", "householder", "categorical")
MODELS = ("mlp", "conv", "resnet", "recurrent", "ladder", "hierarchy")
TRACKERS = ("none", "wandb", "mlflow", "trackio")
