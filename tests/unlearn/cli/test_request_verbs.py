import pytest

DEBUG = ("--on", "debug")


def test_a_request_is_accepted_once_however_often_it_is_made(trained):
    first = trained("request", "add", "--subject", "p3", "--json")
    assert {"id", "records", "state"} <= first.json.keys()
    assert (first.json["records"], first.json["state"]) == (2, "open")
    assert f"next: expunge plan {first.json['id']}" in first.err
    assert trained.ask("request", "add", "--subject", "p3")["id"] == first.json["id"]
    assert len(trained.ask("request", "list")) == 1


def test_an_accepted_request_moves_the_head_of_its_dataset(trained, requested):
    assert trained.ask("dataset", "show", "voices")["records"] == 58
    assert trained.ask("request", "show", requested)["datasets"] == {"voices": 2}


def test_several_subjects_are_a_request_each_and_one_receipt(trained):
    made = trained("request", "add", "--subject", "p3", "--subject", "p4", "--json")
    first, second = made.json["requests"]
    assert made.json["asked"] == 2
    assert [(each["kind"], each["targets"], each["records"]) for each in (first, second)] == [
        ("subject", 1, 2)
    ] * 2
    assert f"next: expunge plan {first['id']} {second['id']}" in made.err
    assert [each["id"] for each in trained.ask("request", "list")] == [first["id"], second["id"]]
    again = trained.ask("request", "add", "--subject", "p4", "--subject", "p3", "--subject", "p4")
    assert again == {"asked": 2, "requests": [second, first]}


def test_a_receipt_is_a_table_with_a_line_a_request(trained):
    shown = trained("request", "add", "--subject", "p3", "--subject", "p4").out
    assert "asked" in shown
    assert len([line for line in shown.splitlines() if line.startswith("req-")]) == 2


def test_one_of_several_people_is_withdrawn_alone(trained):
    made = trained.ask("request", "add", "--subject", "p3", "--subject", "p4")["requests"]
    trained("cancel", made[0]["id"])
    assert trained.ask("dataset", "show", "voices")["records"] == 58
    assert trained.ask("request", "show", made[1]["id"])["state"] == "open"


def test_the_requests_of_a_receipt_are_planned_and_applied_together(trained):
    made = trained.ask("request", "add", "--subject", "p3", "--subject", "p4")["requests"]
    plan = trained.ask("plan", *(each["id"] for each in made))
    assert plan["requests"] == [each["id"] for each in made]
    assert trained.ask("apply", plan["id"], *DEBUG)["verdict"] == "passed"
    again = trained("request", "add", "--subject", "p3", "--subject", "p4", "--json")
    assert [each["state"] for each in again.json["requests"]] == ["done", "done"]
    assert "next:" not in again.err


def test_many_requests_are_not_all_spelled_out_in_the_hint(trained):
    (trained.folder / "ids.txt").write_text("".join(f"p{person}\n" for person in range(13)))
    made = trained("request", "add", "--subjects", "ids.txt", "--json")
    assert len(made.json["requests"]) == 13
    assert "next: expunge plan REQUEST…" in made.err


def test_records_are_requested_by_their_ids_as_one_request(trained):
    made = trained.ask("request", "add", "--record", "c1", "--record", "c2", "--dataset", "voices")
    (request,) = made["requests"]
    assert (request["kind"], request["targets"], request["records"]) == ("record", 2, 2)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_ids_come_from_a_file_one_a_line(trained, ending):
    lines = [b"p1", b"", b"p2", b"p1", b""]
    (trained.folder / "ids.txt").write_bytes(b"\xef\xbb\xbf" + ending.join(lines))
    made = trained.ask("request", "add", "--subjects", "ids.txt")
    assert made["asked"] == len(made["requests"]) == 2


def test_a_file_of_one_line_has_a_receipt_too(trained):
    made = trained("request", "add", "--subjects", "-", "--json", input="p1\n").json
    assert [each["kind"] for each in made["requests"]] == ["subject"]


def test_a_line_that_may_be_two_people_refuses_all_by_its_number(trained):
    trained("dataset", "add", "others", "voices.csv", "--subject", "who")
    refused = trained("request", "add", "--subjects", "-", input="\np1\n", status=2)
    assert "this subject is in several namespaces: others, voices" in refused.err
    refused = trained("request", "add", "--subjects", "-", input="p1\n\np2\n", status=2)
    assert "2 of these 2 subjects (line 1, 3) are in several namespaces" in refused.err
    assert trained.ask("request", "list") == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n \n", "is empty"),
        (b"p1\n\xff\n", "line 2 of the file of ids is not UTF-8"),
    ],
)
def test_a_file_of_ids_is_refused_by_line(trained, content, said):
    assert said in trained("request", "add", "--subjects", "-", input=content, status=2).err
    assert trained.ask("request", "list") == []


def test_unknown_ids_are_not_found_and_counted_but_not_repeated(trained):
    missing = trained("request", "add", "--subjects", "-", input="p1\n\nnobody\np2\n", status=3)
    assert "1 of these 3 subjects (line 3)" in missing.err
    assert "nobody" not in missing.err
    assert trained.ask("request", "list") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "one of --subject, --record, --subjects and --records"),
        (("--subject", "p1", "--record", "c1"), "one of --subject, --record,"),
        (("--subject", "p1", "--subjects", "voices.csv"), "one of --subject, --record,"),
        (("--record", "c1", "--namespace", "x"), "use --dataset"),
        (("--subjects", "nowhere.txt"), "No such file"),
    ],
)
def test_who_is_to_be_forgotten_must_be_clear(trained, words, said):
    assert said in trained("request", "add", *words, status=2).err
