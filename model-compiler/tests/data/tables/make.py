"""Trains small models of scikit-learn, XGBoost and LightGBM on a made-up table and exports them to this folder.

    python3.11 -m venv v && v/bin/pip install onnx==1.23.2 onnxruntime==1.32.0 scikit-learn==1.9.1 skl2onnx==1.20.0 \
        onnxmltools==1.16.0 xgboost==3.2.0 lightgbm==4.7.0
    v/bin/python make.py

NAME.vectors holds pairs of input and onnxruntime's answer (its last output), as little-endian 32-bit floats. The
features are as sensors give them: of very different sizes.
"""

import os

import numpy as np
import onnx
import onnxruntime
from lightgbm import LGBMClassifier, LGBMRegressor
from onnx import TensorProto, helper, numpy_helper
from onnxmltools.convert import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as MlFloat
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import (ExtraTreesClassifier, GradientBoostingClassifier, GradientBoostingRegressor,
                              HistGradientBoostingClassifier, HistGradientBoostingRegressor,
                              RandomForestClassifier, RandomForestRegressor)
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier, XGBRegressor

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = np.array([1013.0, 0.02, 40.0, 3.0, 250.0], np.float32)


def table(random):
    """Rows of five features, three classes, two classes, a target."""
    x = (random.normal(size=(240, 5)) * 0.3 * SIZES + SIZES).astype(np.float32)
    z = (x - SIZES) / SIZES / 0.3
    three = (z[:, 0] + z[:, 1] * z[:, 2] > 0.4).astype(int) + (z[:, 3] > 0.5)
    return x, three, (three > 0).astype(int), (z[:, 0] * 2 + np.sin(3 * z[:, 1])).astype(np.float32)


def save(name, model, rows, feed=None):
    path = os.path.join(HERE, name + ".onnx")
    for node in model.graph.node:
        node.doc_string = ""
    model.producer_name, model.doc_string = "", ""
    with open(path, "wb") as out:
        out.write(model.SerializeToString())
    session = onnxruntime.InferenceSession(path)
    first = session.get_inputs()[0].name
    with open(os.path.join(HERE, name + ".vectors"), "wb") as out:
        for row in rows:
            answer = session.run(None, feed(row) if feed else {first: row[None]})[-1]
            answer = list(answer[0].values()) if isinstance(answer, list) else answer
            out.write(row.tobytes() + np.asarray(answer, np.float32).tobytes())


def by_hand(random):
    """Ensembles with every mode, post transform and aggregate that exporters rarely write; the newer operator too."""
    for name, post, aggregate, binary in [("softmax_zero", "SOFTMAX_ZERO", "SUM", False),
                                          ("probit", "PROBIT", "AVERAGE", False), ("logistic", "LOGISTIC", "SUM", True),
                                          ("smallest", "NONE", "MIN", False), ("largest", "SOFTMAX", "MAX", False)]:
        modes = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
        lists = {key: [] for key in ["treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids",
                                     "missing_value_tracks_true"]}
        scores = {key: [] for key in ["treeids", "nodeids", "ids", "weights"]}
        outputs = 2 if binary else 3
        for tree in range(6):
            for node in range(7):
                leaf = node >= 3
                feature = int(random.integers(5))
                row = [tree, node, 0 if leaf else feature, 0.0 if leaf else float(np.float32(SIZES[feature])),
                       "LEAF" if leaf else modes[tree % 6], 0 if leaf else 2 * node + 1, 0 if leaf else 2 * node + 2,
                       int(random.integers(2))]
                for key, value in zip(lists, row):
                    lists[key].append(value)
                for output in ([1] if binary else range(outputs)) if leaf else []:
                    low = 0.02 if name == "probit" else -1
                    weight = float(np.float32(random.uniform(low, 0.3 if name == "probit" else 1)))
                    for key, value in zip(scores, [tree, node, output, 0.0 if output == node % 3 == 0 else weight]):
                        scores[key].append(value)
        of = "class" if binary else "target"
        attributes = {f"nodes_{key}": value for key, value in lists.items()}
        attributes |= {f"{of}_{key}": value for key, value in scores.items()}
        attributes |= {"classlabels_int64s": [0, 1]} if binary else {"n_targets": outputs, "aggregate_function": aggregate}
        node = helper.make_node("TreeEnsembleClassifier" if binary else "TreeEnsembleRegressor", ["x"],
                                ["label", "y"] if binary else ["y"], domain="ai.onnx.ml", post_transform=post, **attributes)
        x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in [("x", [None, 5]), ("y", [None, outputs])])
        label = helper.make_tensor_value_info("label", TensorProto.INT64, [None])
        graph = helper.make_graph([node], name, [x], [label, y] if binary else [y])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)])
        model.ir_version = 8
        rows = (random.normal(size=(12, 5)) * 0.2 * SIZES + SIZES).astype(np.float32)
        rows[3] = SIZES
        rows[4, 2] = np.nan
        save(f"by_hand_{name}", model, rows)
    tensor = lambda values, kind: numpy_helper.from_array(np.asarray(values, kind))
    node = helper.make_node(
        "TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", n_targets=2, aggregate_function=1, post_transform=0,
        tree_roots=[0, 2], nodes_splits=tensor(SIZES[:3], np.float32), nodes_modes=tensor([0, 1, 3], np.uint8),
        nodes_featureids=[0, 1, 2], nodes_truenodeids=[1, 0, 2], nodes_trueleafs=[0, 1, 1], nodes_falsenodeids=[1, 1, 3],
        nodes_falseleafs=[1, 1, 1], leaf_targetids=[0, 1, 0, 1], leaf_weights=tensor([0.5, -1.25, 2.0, 0.75], np.float32))
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in [("x", [None, 5]), ("y", [None, 2])])
    model = helper.make_model(helper.make_graph([node], "newer", [x], [y]),
                              opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 5)])
    model.ir_version = 9
    save("by_hand_newer", model, (random.normal(size=(12, 5)) * 0.2 * SIZES + SIZES).astype(np.float32))


def main():
    random = np.random.default_rng(7)
    x, three, two, target = table(random)
    rows = x[:12] + (random.normal(size=(12, 5)) * 0.05 * SIZES).astype(np.float32)
    options = lambda m: {id(m): {"zipmap": False}}
    small = dict(n_estimators=5, max_depth=4, random_state=1)
    classifiers = {
        "forest": RandomForestClassifier(**small), "extra_trees": ExtraTreesClassifier(**small),
        "tree": DecisionTreeClassifier(max_depth=4, random_state=1),
        "boosting": GradientBoostingClassifier(**small),
        "hist_boosting": HistGradientBoostingClassifier(max_iter=5, max_depth=3, random_state=1),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
        "sgd": make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=1)),
        "normalized": make_pipeline(Normalizer("l2"), DecisionTreeClassifier(max_depth=3, random_state=1)),
        "perceptron": make_pipeline(StandardScaler(), MLPClassifier((8,), "tanh", max_iter=200, random_state=1)),
    }
    for name, model in classifiers.items():
        for end, y in [("", three), ("_two", two)]:
            model.fit(x, y)
            save(name + end, to_onnx(model, x[:1]), rows)
    regressors = {
        "forest": RandomForestRegressor(**small), "tree": DecisionTreeRegressor(max_depth=4, random_state=1),
        "boosting": GradientBoostingRegressor(**small),
        "hist_boosting": HistGradientBoostingRegressor(max_iter=5, max_depth=3, random_state=1),
        "linear": make_pipeline(MinMaxScaler(), LinearRegression()),
    }
    for name, model in regressors.items():
        save(name + "_regressor", to_onnx(model.fit(x, target), x[:1]), rows)
    # One input for each column.
    model = make_pipeline(StandardScaler(), RandomForestClassifier(**small)).fit(x, three)
    columns = [(f"c{at}", FloatTensorType([None, 1])) for at in range(5)]
    save("columns", to_onnx(model, initial_types=columns), rows, lambda row: {f"c{at}": row[at].reshape(1, 1) for at in range(5)})
    kind = [("x", MlFloat([None, 5]))]
    small = dict(n_estimators=5, max_depth=3, random_state=1)
    for end, y in [("", three), ("_two", two)]:
        save("xgboost" + end, convert_xgboost(XGBClassifier(**small).fit(x, y), initial_types=kind), rows)
        model = LGBMClassifier(**small, verbose=-1).fit(x, y)
        save("lightgbm" + end, convert_lightgbm(model, initial_types=kind, zipmap=False), rows)
    save("xgboost_regressor", convert_xgboost(XGBRegressor(**small).fit(x, target), initial_types=kind), rows)
    save("lightgbm_regressor", convert_lightgbm(LGBMRegressor(**small, verbose=-1).fit(x, target), initial_types=kind), rows)
    by_hand(random)


if __name__ == "__main__":
    main()
