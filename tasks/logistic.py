"""Classes from vectors: logistic regression, its penalty chosen on the labels it may see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError

STRENGTHS = np.logspace(-4, 2, 13)
"""Inverse penalties to choose among; at the last one vectors that separate the classes still give a finite answer."""

FOLDS = 5
"""Parts of the labels on which penalties are compared; fewer where a class has fewer labels."""

STEPS = 5000
"""Most steps of the solver."""


def logistic(
    known: NDArray[np.float64], labels: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Probabilities of class 1 by logistic regression on standardised vectors.

    The penalty is the one with the lowest cross-entropy in a cross-validation within the labels; where a class has
    one label only, nothing can be compared and the penalty is 1.

    Args:
        known: vectors with labels, (n, C).
        labels: 0 and 1, (n,).
        wanted: vectors to classify, (m, C).

    Returns:
        Probabilities, (m,).

    Raises:
        InputError: If all labels are of one class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = labels > 0.5
    fewest = int(min(classes.sum(), (~classes).sum()))
    if fewest == 0:
        raise InputError(
            f"All {len(labels)} labels are of class {int(classes[0])}: nothing tells the classes apart. "
            "Unmask more labels, or choose another seed."
        )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=STEPS))
    if fewest > 1:
        parts = StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=0)
        choices = {"logisticregression__C": STRENGTHS}
        model = GridSearchCV(model, choices, scoring="neg_log_loss", cv=parts)
    found = model.fit(known, classes).predict_proba(wanted)
    return np.asarray(found[:, 1], dtype=np.float64)
