"""
Makes cart-pole.json, the games that the tests of CartPole are held against, with Gymnasium's CartPole-v1:

    pip install gymnasium==1.4.0 && python make.py > cart-pole.json
"""

import json
import platform

import gymnasium


def game(name, start, choose):
    env = gymnasium.make("CartPole-v1")
    env.reset(seed=0)
    env.unwrapped.state = start
    actions, states, ended = [], [start], False
    while not ended:
        action = choose(len(actions), states[-1])
        _, reward, terminated, truncated, _ = env.step(action)
        assert reward == 1.0
        actions.append(action)
        # The state itself, in double precision; what `step` returns is rounded to single precision.
        states.append([float(value) for value in env.unwrapped.state])
        ended = terminated or truncated
    # The first ones, in which a mistake is easy to find, then every tenth, and the last one.
    kept = [i for i in range(1, len(states)) if i <= 10 or i % 10 == 0 or i == len(states) - 1]
    return {
        "name": name,
        "start": start,
        "actions": actions,
        "terminated": terminated,
        "truncated": truncated,
        "states": [[i, states[i]] for i in kept],
    }


def balance(drift):
    """Holds the pole upright, and lets the cart drift."""
    return lambda i, state: int(state[2] + 0.5 * state[3] + drift * (state[0] + state[1]) > 0)


games = [
    game("always to the left", [0.01, -0.02, 0.03, 0.04], lambda i, state: 0),
    game("always to the right", [-0.03, 0.01, 0.04, -0.02], lambda i, state: 1),
    game("by turns", [0.0, 0.0, 0.0, 0.0], lambda i, state: i % 2),
    game("until it leaves the track on the right", [0.05, 0.05, 0.04, 0.05], balance(-0.02)),
    game("until it leaves the track on the left", [-0.05, -0.05, -0.04, -0.05], balance(-0.02)),
    game("until the time is over", [0.02, -0.01, 0.03, -0.04], balance(0.02)),
]
made = f"golden/make.py with Gymnasium {gymnasium.__version__}, Python {platform.python_version()}"
rows = ",\n".join(json.dumps(game) for game in games)
print(f'{{"made": {json.dumps(made)}, "games": [\n{rows}\n]}}')
