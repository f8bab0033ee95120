"""Any program: takes its settings as arguments and prints a line of JSON for each epoch."""

import argparse
import json

from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--width", type=int, required=True)
arguments = parser.parse_args()

x, y = load_wine(return_X_y=True)
x, x_val, y, y_val = train_test_split(x, y, random_state=0, test_size=0.4)
scaler = StandardScaler().fit(x)
model = MLPClassifier((arguments.width,), learning_rate_init=arguments.lr, random_state=0)
for step in range(1, 11):
    model.partial_fit(scaler.transform(x), y, classes=[0, 1, 2])
    print(
        json.dumps(
            {"step": step, "loss": model.loss_, "accuracy": model.score(scaler.transform(x_val), y_val)}
        )
    )
