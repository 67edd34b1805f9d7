"""Base models, embedders and data sizes: combinations, their folders, and what their results are called."""

from pathlib import PurePath

from tools.compare.grid import make_grid


def test_one_of_each_has_no_folder_and_no_name_of_its_own():
    (point,) = make_grid(["some/clip"], ["some/model"], ["llm"], "clip", [1000])
    assert (point.clip, point.teacher, point.model, point.embedder) == ("some/clip", "clip", "some/model", "llm")
    assert (point.folder, point.title("ProCLIP", of_clip=False)) == (PurePath(), "ProCLIP")
    assert point.num_samples == 1000


def test_one_of_each_may_be_named():
    (point,) = make_grid(["b32=some/clip"], ["minilm=a/b"], ["llm"], "clip", [])
    assert (point.clip, point.teacher, point.model, point.embedder) == ("some/clip", "b32", "a/b", "minilm")
    assert point.num_samples is None
    assert point.folder == PurePath()


def test_every_combination_is_a_point_with_a_folder_and_a_name():
    points = make_grid(["b32=x", "l14=y"], ["llama=p", "nv=q"], ["llm"], "clip", [100, 200])
    assert [str(point.folder) for point in points] == [
        f"{names}/{size}-samples" for names in ("b32/llama", "b32/nv", "l14/llama", "l14/nv") for size in (100, 200)
    ]
    assert points[0].title("ProCLIP", of_clip=False) == "ProCLIP, b32, llama, 100 samples"
    assert points[-1].title("ProCLIP", of_clip=False) == "ProCLIP, l14, nv, 200 samples"
    assert {(point.clip, point.teacher) for point in points} == {("x", "b32"), ("y", "l14")}
    assert {(point.model, point.embedder) for point in points} == {("p", "llama"), ("q", "nv")}


def test_clip_itself_depends_on_the_base_model_only():
    points = make_grid(["b32=x", "l14=y"], [], ["llama", "nv"], "clip", [])
    titles = [point.title("CLIP", of_clip=True) for point in points]
    assert titles == ["CLIP, b32", "CLIP, b32", "CLIP, l14", "CLIP, l14"]
    assert {str(point.base_folder) for point in points} == {"b32", "l14"}


def test_a_path_with_an_equals_sign_is_no_name():
    (point,) = make_grid(["/data/run=3/clip"], [], ["llm"], "clip", [])
    assert (point.clip, point.teacher) == ("/data/run=3/clip", "clip")
