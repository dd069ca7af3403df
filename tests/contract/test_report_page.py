"""The report in a real browser: it renders, filters, searches, and shows hostile text as text."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlvr.comparison import compare_runs
from rlvr.report.page import write_report
from rlvr.rollout_table import SCHEMA
from rlvr.run_record import RunRecord
from rlvr.variants import variants_of_folders
from tests.contract.browser import Page, chromium
from tests.made_runs import made_config, made_run, step_metrics

PATIENCE = 3
"""A busy machine is late now and then; a page that is slow is late every time."""
HOSTILE = [
    "<script>window.owned = 1; document.title = 'owned'</script>",
    "</script><img src=x onerror='window.owned = 2'><style>body { display: none }</style>",
    "<!-- <svg onload=window.owned=3> ]]> &lt;b&gt; \\u003cscript\\u003e {{ 7 * 7 }} ${window.owned=4}",
    "\u202eright to left \u0000 \x1b[31m red \u2028 line \ud800".encode("utf-8", "replace").decode(),
    '"><a href="javascript:window.owned=5">click</a><iframe srcdoc="<script>parent.owned=6</script>">',
]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as page:
        yield page


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of twelve steps, evaluated at the end."""
    root = tmp_path_factory.mktemp("runs")
    runs = [made_run(root, f"made-{seed}", seed=seed, evaluations=(6, 12), config=made_config(seed=seed)) for seed in (0, 1)]
    return write_report(runs, root / "report.html").path


def test_it_renders_without_an_error_or_a_load_from_anywhere(page: Page, report: Path) -> None:
    page.open(report)
    page.until("return document.querySelectorAll('#charts .plot .main-svg').length > 3")
    titles = page.texts("#charts h3")
    assert any(title.startswith("Held-out accuracy") for title in titles)
    assert any(title.startswith("Reward") for title in titles)
    assert page.texts(".runs tbody tr:first-child td")[:3] == ["made-0", "grpo", "0"]
    page.run("document.getElementById('time').scrollIntoView()")
    page.until("return document.querySelectorAll('#time-plot .main-svg').length > 0")
    assert "wasted" in page.texts("#time-readout")[0]
    assert page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)") == []
    assert page.complaints() == []


def test_the_cursor_is_shared_by_all_charts(page: Page, report: Path) -> None:
    page.open(report)
    page.until("return document.querySelectorAll('#charts .plot .main-svg').length > 3")
    from selenium.webdriver.common.action_chains import ActionChains

    plot = page.driver.find_elements("css selector", "#charts .plot")[1]
    ActionChains(page.driver).move_to_element(plot).perform()
    page.until("return document.querySelectorAll('#charts .at').length > 3")
    said = {text for text in page.texts("#charts .at") if text}
    assert len(said) == 1
    assert next(iter(said)).startswith("at step ")
    shown = page.run(
        "return [...document.querySelectorAll('.cursor')].filter((line) => getComputedStyle(line).display === 'block').length"
    )
    assert shown > 2


SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GRPO and DAPO with three seeds each; its result lies beside it."""
    root = tmp_path_factory.mktemp("compared")
    runs = [
        made_run(
            root,
            f"{name}-{seed}",
            steps=4,
            groups=1,
            seed=10 * seed,
            evaluations=(2, 4),
            config=made_config(seed=seed, algorithm=name),
            metrics=lambda step, seed=seed: step_metrics(0.1 * step + 0.1 * seed) | {"tokens/generated": 100.0 + seed},
        )
        for name in ("grpo", "dapo")
        for seed in SEEDS
    ]
    result = compare_runs(variants_of_folders(runs))
    (root / "result.json").write_text(json.dumps(result.to_json()))
    return write_report(runs, root / "r.html", comparison=result, variants=[("grpo", 3), ("dapo", 3)]).path


def test_seeds_of_a_variant_are_one_curve_in_their_band(page: Page, comparison: Path) -> None:
    page.open(comparison)
    assert page.texts("h1") == ["grpo against dapo"]
    variants = json.loads(comparison.with_name("result.json").read_text())["variants"]
    page.until("return document.querySelectorAll('#charts .plot .main-svg').length > 3")

    def readouts(title: str) -> list[str]:
        card = "[...document.querySelectorAll('#charts .card')].find((c) => c.querySelector('h3').textContent.startsWith(arguments[0]))"
        return page.run(f"return [...{card}.querySelectorAll('.readout > span:not(.at)')].map((e) => e.textContent)", title)

    assert [text.strip() for text in page.texts("#legend label")] == ["grpo", "dapo"]
    assert readouts("Reward") == ["grpo 0.5 0.4 to 0.6", "dapo 0.5 0.4 to 0.6"]
    last = [variant["curve"][-1] for variant in variants]
    shown = [f"{100 * p['accuracy']:.3g} {100 * p['lowest']:.3g} to {100 * p['highest']:.3g} rl 4" for p in last]
    assert readouts("Held-out") == [f"{name} {text}" for name, text in zip(("grpo", "dapo"), shown, strict=True)]
    filled = "return document.querySelectorAll('#charts .plot .fills path').length"
    page.until(f"{filled} > 1")
    page.run("const a = document.getElementById('axis'); a.value = 'tokens'; a.dispatchEvent(new Event('change'))")
    page.until("return document.querySelector('#charts .plot').data?.[2]?.x?.[0] === 202")  # mean over seeds of two steps
    page.run("const s = document.getElementById('seeds'); s.value = 'each'; s.dispatchEvent(new Event('change'))")
    page.until(f"{filled} === 0")
    assert [text.strip() for text in page.texts("#legend label")] == [
        f"{name}-{seed}" for name in ("grpo", "dapo") for seed in SEEDS
    ]
    assert len(readouts("Reward")) == 6
    assert page.complaints() == []


def test_filters_narrow_by_every_column(page: Page, report: Path) -> None:
    page.open(report)
    everything = int(page.texts("#found")[0].split()[0])
    assert everything == 2 * (12 * 16 + 2 * 40)
    page.fill("reason", page.run("return [...document.forms.filters.elements.reason.options].at(-1).value"))
    reasons = set(page.texts("#rows .verdict"))
    assert len(reasons) == 1
    page.fill("step-from", "12")
    assert {text.split()[2] for text in page.texts("#rows td:first-child")} == {"12"}
    page.fill("run", "1")
    assert {text.split()[0] for text in page.texts("#rows td:first-child")} == {"made-1"}
    page.fill("where", "1/0")
    assert all("heldout" in text for text in page.texts("#rows td:first-child"))
    page.run("document.querySelector('#filters button[type=reset]').click()")
    page.until(f"return document.getElementById('found').textContent.startsWith('{everything} of')")
    page.fill("sort", "tokens")
    tokens = [float(text) for text in page.texts("#rows td:nth-child(5)")]
    assert tokens == sorted(tokens)
    page.fill("score-from", "0.5")
    assert set(page.texts("#rows td:nth-child(3)")) == {"1"}


def test_search_finds_text_wherever_it_stands(page: Page, tmp_path: Path) -> None:
    def say(draw: random.Random) -> str:
        return "needle IN here" if draw.random() < 0.02 else "hay " * 20

    run = made_run(tmp_path, steps=30, groups=8, text=say)
    page.open(write_report([run], tmp_path / "report.html").path)
    page.fill("text", "Needle in")
    assert set(page.texts("#rows .snippet")) == {"needle IN here"}
    files = [pq.read_table(file, columns=["completion"]) for file in sorted((run / "rollouts").glob("*.parquet"))]
    expected = sum(text == "needle IN here" for table in files for text in table["completion"].to_pylist())
    assert int(page.texts("#found")[0].split()[0]) == expected > 3
    page.fill("text", "no such words")
    assert page.texts("#found")[0].startswith("0 of")


def test_a_group_shows_every_completion_with_its_tokens(
    page: Page, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tokenizers import Tokenizer

    from tests import made_runs

    tokenizer = Tokenizer.from_file(str(tiny_model_dir / "tokenizer.json"))
    plain = made_runs.made_rollout

    def with_tokens(task: str, text: str, *rest: object, **changed: object) -> object:
        import dataclasses

        rollout = plain(task, text, *rest, **changed)  # pyright: ignore[reportArgumentType]
        ids = tuple(tokenizer.encode(text, add_special_tokens=False).ids)
        logprobs = tuple(-0.01 if i % 2 else -3.0 for i in range(len(ids)))
        mask = tuple(i > 0 for i in range(len(ids)))
        completion = dataclasses.replace(rollout.completion, token_ids=ids, sampled_logprobs=logprobs, loss_mask=mask)
        return dataclasses.replace(rollout, completion=completion)

    monkeypatch.setattr(made_runs, "made_rollout", with_tokens)
    config = made_config() | {"model": {**made_config()["model"], "name": str(tiny_model_dir)}}
    run = made_run(tmp_path, steps=4, evaluations=(2, 4), config=config, text=lambda d: "The answer is 42 ☃ 😀!")
    page.open(write_report([run], tmp_path / "report.html").path)
    page.fill("where", "1/0")
    page.run("document.querySelector('#rows tr').click()")
    page.until("return document.querySelectorAll('#columns .completion').length === 2")
    page.run("document.querySelector('.chip[aria-pressed=false]').click()")
    page.until("return document.querySelectorAll('#columns .column').length === 2")
    page.run("document.getElementById('close').click()")
    page.fill("where", "0/0")
    page.run("document.querySelector('#rows tr').click()")
    page.until("return document.querySelectorAll('#columns .completion').length === 4")
    assert page.texts("#columns .completion .tokens") == ["The answer is 42 ☃ 😀!"] * 4
    classes = page.run("return [...document.querySelector('.tokens').children].map((span) => span.className)")
    assert classes[0] == "untrained"
    assert set(classes[1:]) == {"s0", "s5"}
    assert "log p -3.00" in page.run("return document.querySelector('.tokens .s5').title")
    page.run("const c = document.getElementById('colour'); c.value = 'advantage'; c.dispatchEvent(new Event('change'))")
    page.until("return document.querySelector('.tokens .s5') === null")
    tones = page.run(
        "return [...document.querySelectorAll('.tokens')].map((text) => text.children[1].className.slice(0, 2))"
    )
    assert set(tones) <= {"ap", "an", "az"}
    assert any("against the gold '2'" in text for text in page.texts("#columns .said"))
    assert page.complaints() == []


def test_tool_calls_are_shown_as_what_differs_from_the_gold(page: Page, tmp_path: Path) -> None:
    run = made_run(tmp_path, steps=1, groups=1, group_size=2)
    (file,) = (run / "rollouts").glob("*.parquet")
    gold = {"calls": [{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}], "order": "any"}
    read = [{"arguments": {"days": 3, "city": "<b>Rome</b>"}, "name": "weather"}]
    rows = [
        row
        | {"answer": json.dumps(gold), "parsed": json.dumps(read), "score": 0.0, "passed": False, "reason": "wrong_value"}
        for row in pq.read_table(file).to_pylist()
    ]
    rows[1] |= {"score": 1.0, "passed": True}
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), file)
    page.open(write_report([run], tmp_path / "report.html").path)
    page.run("document.querySelector('#rows tr').click()")
    page.until("return document.querySelectorAll('#columns .completion').length === 2")
    assert page.texts(".only-gold") == ['-       "city": "Oslo"\n']
    assert page.texts(".only-read") == ['+       "city": "<b>Rome</b>"\n']
    assert len(page.texts(".difference")) == 1  # of the one that failed
    assert page.complaints() == []


def test_hostile_text_is_shown_and_does_nothing(page: Page, tmp_path: Path) -> None:
    config = made_config()
    names = {f"{family}/{text}": 0.1 for family in ("reasons", "accuracy", "new") for text in HOSTILE}
    run = made_run(
        tmp_path,
        name="hostile",
        steps=2,
        groups=5,
        text=lambda d: d.choice(HOSTILE),
        metrics=lambda step: step_metrics() | names,
        config=config,
    )
    record = RunRecord(path=run, name="x", config={}, manifest={}, metrics=(), summary=None)
    for file in record.rollout_files():  # in every column that text can reach
        table = pq.read_table(file.path)
        for column in ("reason", "explanation", "parsed", "data_source", "task_id", "answer", "verifier"):
            values = [HOSTILE[row % len(HOSTILE)] for row in range(table.num_rows)]
            if column == "task_id":
                values = [HOSTILE[row // 4 % len(HOSTILE)] for row in range(table.num_rows)]
            table = table.set_column(table.schema.get_field_index(column), column, pa.array(values))
        pq.write_table(table, file.path)
    page.open(write_report([run], tmp_path / "report.html").path)
    page.run("document.getElementById('more').open = true; document.getElementById('more').scrollIntoView()")
    page.until("return document.querySelectorAll('#charts-more .main-svg').length > 0")
    for _ in range(5):
        page.run("document.querySelectorAll('#rows tr')[Math.floor(Math.random() * 20)].click()")
        page.until("return document.querySelectorAll('#columns .completion').length > 0")
        page.run("document.getElementById('close').click()")
    time.sleep(0.2)
    assert page.run("return window.owned") is None
    assert page.driver.title.startswith("hostile")
    assert page.run("return document.querySelectorAll('img, iframe, a[href^=javascript]').length") == 0
    assert HOSTILE[0] in page.run("return document.getElementById('rows').textContent")
    assert page.complaints() == []


def test_even_an_injected_script_would_not_run(page: Page, report: Path) -> None:
    page.open(report)
    page.run(
        "const s = document.createElement('script'); s.textContent = 'window.owned = 1'; document.body.append(s);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"window.owned = 2\">')"
    )
    time.sleep(0.3)
    assert page.run("return window.owned") is None
    assert any("Content Security Policy" in complaint for complaint in page.complaints())


def test_a_megabyte_does_not_freeze_the_page(page: Page, tmp_path: Path) -> None:
    draw = random.Random(0)
    noise = "".join(draw.choice("<>&abc") for _ in range(1_000_000))
    run = made_run(tmp_path, steps=1, groups=1, group_size=2, text=lambda d: noise)
    written = write_report([run], tmp_path / "report.html")
    assert written.rollouts.cut_texts > 0

    def at_once() -> bool:
        loaded = page.open(written.path)
        started = time.monotonic()
        page.run("document.querySelector('#rows tr').click()")
        page.until("return document.querySelectorAll('#columns .completion').length === 2")
        for _ in range(3):
            page.run("document.querySelector('.completion .more').click()")
        return loaded < 3 and time.monotonic() - started < 2

    assert any(at_once() for _ in range(PATIENCE))
    assert "2 texts longer than 200,000 characters are cut" in page.texts("#rollouts .note")[0]


def test_light_and_dark(page: Page, report: Path) -> None:
    def paper() -> str:
        return page.run("return getComputedStyle(document.body).backgroundColor")

    page.open(report, dark=False)
    light = paper()
    page.open(report, dark=True)
    dark = paper()
    assert light != dark
    page.run("document.getElementById('theme').click()")
    assert paper() == light
    page.run("document.getElementById('theme').click()")
    page.run("document.getElementById('theme').click()")
    assert paper() == dark


def test_a_phone_needs_no_sideways_scrolling(page: Page, report: Path) -> None:
    page.open(report, width=360, height=740)
    page.until("return document.querySelectorAll('#charts .plot .main-svg').length > 0")
    assert page.run("return document.documentElement.scrollWidth") == 360
    page.run("document.querySelector('#rows tr').click()")
    page.until("return document.querySelectorAll('#columns .completion').length > 0")
    assert page.run("const d = document.getElementById('group'); return d.scrollWidth - d.clientWidth") == 0


@pytest.mark.parametrize("width", [360, 768])
def test_a_comparison_needs_no_sideways_scrolling_either(page: Page, comparison: Path, width: int) -> None:
    page.open(comparison, width=width, height=740)
    page.run("document.querySelector('#charts').scrollIntoView()")  # charts are drawn when they are looked at
    page.until("return document.querySelectorAll('#charts .plot .main-svg').length > 0")
    assert page.run("return document.documentElement.scrollWidth") <= width


def test_fifty_thousand_rollouts_load_in_three_seconds(page: Page, tmp_path: Path) -> None:
    run = made_run(tmp_path, steps=100, groups=1)
    draw = random.Random(0)
    small = pq.read_table(run / "rollouts" / "rl-000001.parquet").to_pylist()[0]
    for step in range(1, 101):  # 600 a step
        rows = [
            small
            | {
                "step": step,
                "task_id": f"task-{step}-{n // 8}",
                "sample": n % 8,
                "completion": " ".join(draw.choice(["alpha", "beta", "gamma", "delta", "42"]) for _ in range(40)),
            }
            for n in range(600)
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), run / "rollouts" / f"rl-{step:06d}.parquet")
    written = write_report([run], tmp_path / "report.html")
    assert (written.rollouts.total, written.rollouts.shown >= 45_000) == (60_000, True)
    assert written.bytes < 25e6

    def at_once() -> bool:
        loaded = page.open(written.path)
        assert f"{written.rollouts.shown:,} of 60,000 rollouts are in this file" in page.texts("#rollouts .note")[0]
        started = time.monotonic()
        page.fill("step-from", "100")
        filtered = time.monotonic() - started
        page.fill("text", "alpha beta gamma delta")
        print(f"{written.bytes / 1e6:.1f} MB, loaded in {loaded:.2f} s, filtered in {filtered:.2f} s")
        return loaded < 3 and filtered < 1

    assert any(at_once() for _ in range(PATIENCE))


def test_the_size_is_kept_by_sampling_whole_groups_of_every_step(page: Page, tmp_path: Path) -> None:
    draw = random.Random(0)
    run = made_run(
        tmp_path, steps=20, groups=20, text=lambda d: "".join(draw.choice("abcdefghijklmnop") for _ in range(4000)),
        metrics=lambda step: step_metrics(),
    )  # fmt: skip
    written = write_report([run], tmp_path / "report.html", max_mb=4)
    assert written.bytes < 4e6
    assert 0 < written.rollouts.shown < written.rollouts.total == 1600
    page.open(written.path)
    assert "of 1,600 rollouts are in this file" in page.texts("#rollouts .note")[0]
    page.fill("step-from", "20")
    last = int(page.texts("#found")[0].split()[0])
    assert last > 0
    assert last % 4 == 0
