"""Teaching against teachers of scripted answers and failures."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from scripts import chat_client
from scripts.api_key import read_key
from scripts.examples import read
from scripts.reporting import Reporter
from scripts.teaching.order import Order
from scripts.teaching.report import Report
from scripts.teaching.teach import teach
from server.errors import CupolaError, InvalidValue

from .teachers import Failure, Teacher, lines, read_lines

QUICK = {"first_wait": 0.01, "concurrency": 1}
SILENT = Failure(0)


@pytest.fixture
def teacher() -> Iterator[Teacher]:
    with Teacher() as made:
        yield made


def taught(folder: Path, teacher: Teacher, words: str, **fields: object) -> Report:
    """A run over prompts of one word each."""
    prompts = lines(folder / "prompts.jsonl", [{"prompt": word} for word in words.split()])
    order = Order.model_validate({"prompts": prompts, "teachers": (teacher.at,), **QUICK, **fields})
    return teach(order, folder / "out.jsonl", Reporter(None))


def test_a_second_run_asks_only_what_a_torn_journal_lacks(teacher: Teacher, tmp_path: Path) -> None:
    teacher.say = lambda said: "I'm sorry, but no." if said == "refuse" else f"re: {said}"
    first = taught(tmp_path, teacher, "a b refuse")
    out, journal = tmp_path / "out.jsonl", tmp_path / "out.journal.jsonl"
    assert (first.accepted, first.rejected, first.requests) == (2, {"refusal": 1}, 3)
    assert [example.answer for example in read(out)] == ["re: a", "re: b"]
    rejected = read_lines(tmp_path / "out.rejected.jsonl")
    assert [(line["reason"], line["text"]) for line in rejected] == [("refusal", "I'm sorry, but no.")]
    before = out.read_bytes()
    journal.write_bytes(journal.read_bytes()[:-10])
    again = taught(tmp_path, teacher, "a b refuse")
    assert teacher.asked == ["a", "b", "refuse", "refuse"]
    assert (again.requests, again.runs, again.completion_tokens) == (1, 2, 15)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    "failure",
    [
        Failure(500, "oops"),
        Failure(429),
        SILENT,
        Failure(200, '{"choices": []}'),
        Failure(200, "<html>"),
        Failure(408),
        Failure(200, "[" * 100_000),
        Failure(500, "ff", {"Content-Type": "text/plain; charset=hex"}),
        Failure(200, f'{{"choices": [{{"message": {{"content": "a"}}}}], "usage": {{"prompt_tokens": {10**30}}}}}'),
    ],
    ids=["500", "429", "hangs up", "no choice", "no JSON", "408", "deep", "no charset", "no count"],
)
def test_what_may_pass_is_tried_again(teacher: Teacher, tmp_path: Path, failure: Failure) -> None:
    teacher.failures["a"] = [failure, failure]
    report = taught(tmp_path, teacher, "a b")
    assert teacher.asked == ["a", "a", "a", "b"]
    assert (report.accepted, report.rejected) == (2, {})


def test_retry_after_is_waited_for(teacher: Teacher, tmp_path: Path) -> None:
    teacher.failures["a"] = [Failure(503, headers={"Retry-After": "1"})]
    taught(tmp_path, teacher, "a")
    assert teacher.times[1] - teacher.times[0] >= 1.0


def test_a_slow_answer_is_given_up_and_asked_again_by_the_next_run(teacher: Teacher, tmp_path: Path) -> None:
    teacher.failures["a"] = [Failure(200, "{}", delay=1.0)]
    report = taught(tmp_path, teacher, "a b", deadline=0.3, retries=0)
    assert (report.accepted, report.rejected) == (1, {"deadline": 1})
    report = taught(tmp_path, teacher, "a b", deadline=0.3, retries=0)
    assert (report.accepted, report.requests) == (2, 1)


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_refusal_of_the_server_ends_it_at_once_in_its_words(teacher: Teacher, tmp_path: Path, status: int) -> None:
    teacher.failures["a"] = [Failure(status, json.dumps({"error": {"message": "There is no model 'm'."}}))]
    with pytest.raises(CupolaError, match=rf"status {status}\): There is no model 'm'\."):
        taught(tmp_path, teacher, "a b")
    assert teacher.asked == ["a"]
    assert not (tmp_path / "out.jsonl").exists()


def test_a_prompt_longer_than_the_context_is_that_prompts_fate(teacher: Teacher, tmp_path: Path) -> None:
    error = {"message": "Too long.", "code": "context_length_exceeded"}
    teacher.failures["a"] = [Failure(400, json.dumps({"error": error}))]
    for _ in range(2):
        report = taught(tmp_path, teacher, "a b")
        assert (report.accepted, report.rejected) == (1, {"longer than the teacher's context": 1})
    assert teacher.asked == ["a", "b"]


def test_a_teacher_that_answers_nothing_is_given_up(teacher: Teacher, tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(40)]
    for word in words[3:]:
        teacher.failures[word] = [Failure(500)]
    with pytest.raises(CupolaError, match=r"none of 20 requests in a row \(status 500\)"):
        taught(tmp_path, teacher, " ".join(words), retries=0)
    assert len(teacher.asked) == 23
    assert taught(tmp_path, teacher, " ".join(words)).accepted == 40
    assert teacher.asked.count("w0") == 1


def test_an_answer_cut_at_its_longest_is_no_answer(teacher: Teacher, tmp_path: Path) -> None:
    teacher.finish = "length"
    with pytest.raises(CupolaError, match=r"No answer was kept of 1: \{'cut at max_tokens': 1\}"):
        taught(tmp_path, teacher, "a")
    assert read_lines(tmp_path / "out.rejected.jsonl")[0]["text"] == "re: a"


def test_no_more_requests_at_once_than_ordered(teacher: Teacher, tmp_path: Path) -> None:
    words = " ".join(f"w{number}" for number in range(12))
    for word in words.split():
        teacher.failures[word] = [Failure(0, delay=0.05)]
    assert taught(tmp_path, teacher, words, concurrency=3).accepted == 12
    assert teacher.most_at_once == 3


def test_two_processes_do_not_write_one_journal(teacher: Teacher, tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / "out.journal.jsonl.lock"),
        pytest.raises(InvalidValue, match=r"Another process is writing .*out\.journal\.jsonl"),
    ):
        taught(tmp_path, teacher, "a")
    assert teacher.asked == []


def test_a_journal_of_something_else_stays_as_it_is(teacher: Teacher, tmp_path: Path) -> None:
    journal = tmp_path / "out.journal.jsonl"
    journal.write_bytes(b'{"name": "mine"}\nand no newline')
    with pytest.raises(InvalidValue, match="is no journal of answers"):
        taught(tmp_path, teacher, "a")
    assert journal.read_bytes() == b'{"name": "mine"}\nand no newline'


def test_a_key_goes_to_its_teacher_alone(teacher: Teacher, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret-1\n")
    with Teacher() as other:
        teachers = ({"at": teacher.at, "api_key_file": str(key)}, other.at)
        taught(tmp_path, teacher, "a", teachers=teachers)
    assert teacher.headers[0]["authorization"] == "Bearer secret-1"
    assert "authorization" not in other.headers[0]
    assert "secret-1" not in "".join(path.read_text() for path in tmp_path.glob("out.*"))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "is no file with a key"), ("", "holds no key"), ("a\nb", "no key"), ("schlüssel", "no key")],
)
def test_a_bad_key_file_is_said_before_anything_is_asked(
    teacher: Teacher, tmp_path: Path, content: str | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    with pytest.raises(InvalidValue, match=complaint):
        taught(tmp_path, teacher, "a", api_key_file=tmp_path / "key")
    assert teacher.asked == []


def test_teachers_vote_and_each_is_accounted_for(teacher: Teacher, tmp_path: Path) -> None:
    with Teacher(lambda said: f"RE:  {said}.") as second, Teacher(lambda said: "other") as third:
        teachers = ({"at": teacher.at, "price": (1, 10)}, {"at": second.at, "price": (2, 20)}, third.at)
        report = taught(tmp_path, teacher, "a b", teachers=teachers)
    assert [example.answer for example in read(tmp_path / "out.jsonl")] == ["re: a", "re: b"]
    assert (report.accepted, report.rejected, report.cost) == (2, {"outvoted": 2}, None)
    one, two, three = report.teachers.values()
    assert (one.accepted, two.accepted, three.accepted) == (2, 2, 0)
    assert three.rejected == {"outvoted": 2}
    assert (one.cost, two.cost, three.cost) == (0.00012, 0.00024, None)
    assert (one.prompt_tokens, one.completion_tokens) == (20, 10)
    assert one.tokens_per_second == pytest.approx(10 / one.seconds, rel=0.1)
    assert json.loads((tmp_path / "out.report.json").read_text())["teachers"][third.at]["rejected"] == {"outvoted": 2}


def test_samples_have_seeds_of_their_own_and_all_can_be_kept(teacher: Teacher, tmp_path: Path) -> None:
    said = iter(["one", "two", "One", "four"])
    teacher.say = lambda _: next(said)
    report = taught(tmp_path, teacher, "a", samples=4, keep="all")
    assert [body["seed"] for body in teacher.bodies] == [0, 1, 2, 3]
    found = read(tmp_path / "out.jsonl")
    assert [(example.answer, example.meta["votes"]) for example in found] == [("one", 2), ("two", 1), ("four", 1)]
    assert len({example.id for example in found}) == 3
    assert (report.accepted, report.examples) == (1, 3)


def test_seconds_are_of_all_runs(teacher: Teacher, tmp_path: Path) -> None:
    teacher.failures["a"] = [Failure(0, delay=0.5)]
    first = taught(tmp_path, teacher, "a")
    second = taught(tmp_path, teacher, "a b")
    assert second.runs == 2
    assert second.seconds >= first.seconds - 0.1 >= 0.4


def test_an_answer_without_end_is_not_read(teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_client, "LARGEST", 1 << 20)
    teacher.failures["a"] = [Failure(200, " " * (4 << 20))]
    report = taught(tmp_path, teacher, "a b")
    assert teacher.asked == ["a", "b"], "it would be the same another time"
    assert (report.accepted, report.rejected) == (1, {"an answer of more than 1 MB": 1})


def test_inputs_are_not_written_over(tmp_path: Path) -> None:
    prompts = lines(tmp_path / "out.jsonl", [{"prompt": "a"}])
    with pytest.raises(InvalidValue, match="would be written over"):
        teach(Order(prompts=prompts), tmp_path / "out.jsonl", Reporter(None))


def test_words_of_a_refusal_are_few(teacher: Teacher, tmp_path: Path) -> None:
    teacher.failures["a"] = [Failure(400, '{"error": {"message": "' + "no\\n" * 100_000 + '"}}')]
    with pytest.raises(CupolaError) as raised:
        taught(tmp_path, teacher, "a")
    assert len(raised.value.message) < 500
    assert "no no" in raised.value.message


@pytest.mark.parametrize("content", ["sk-secret\nmore", "sk-secret\x07", "sk-secret\u00e9", "", " ", "sk secret"])
def test_a_key_that_is_none_is_not_shown(content: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(InvalidValue) as caught:
        read_key(tmp_path / "key")
    assert "secret" not in caught.value.message
    (tmp_path / "key").write_text("sk-good\n")
    assert read_key(tmp_path / "key") == "sk-good"
