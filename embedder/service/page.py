"""The page that describes the API: made from its OpenAPI document, without scripts or anything from elsewhere."""

import json
import re
from html import escape
from typing import Any

_STYLE = """body { font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
pre { background: #f4f4f4; padding: .7em; overflow-x: auto } h2 { border-top: 1px solid #ccc; padding-top: .7em }"""
_REFERENCE = re.compile(r"&quot;#/components/schemas/(\w+)&quot;")


def api_page(document: dict[str, Any]) -> str:
    """HTML with every route, its body and its answer, and every schema."""
    about, components = document["info"], document.get("components", {})
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(about["title"])}</title>',
        f"<style>{_STYLE}</style></head><body><h1>{escape(about['title'])}</h1><p>{escape(about['description'])} ",
        'The same as <a href="openapi.json">openapi.json</a>, for programs.</p>',
    ]
    if "securitySchemes" in components:
        parts.append("<p>Requests bring a token: <code>Authorization: Bearer TOKEN</code>.</p>")
    for path, methods in sorted(document["paths"].items()):
        parts += [_route(method, path, route) for method, route in methods.items()]
    parts.append("<h2>Schemas</h2>")
    for name, schema in components.get("schemas", {}).items():
        parts.append(f'<h3 id="{escape(name)}">{escape(name)}</h3>{_json(schema)}')
    return "".join([*parts, "</body></html>"])


def _route(method: str, path: str, route: dict[str, Any]) -> str:
    parts = [f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(route.get('description', ''))}</p>"]
    bodies = {"Body": route.get("requestBody", {})} | {f"Answer {code}": a for code, a in route["responses"].items()}
    for title, body in bodies.items():
        for kind, content in body.get("content", {}).items():
            parts.append(f"<h3>{escape(title)} ({escape(kind)})</h3>{_json(content.get('schema', {}))}")
    return "".join(parts)


def _json(schema: dict[str, Any]) -> str:
    text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
    return "<pre>" + _REFERENCE.sub(r'&quot;<a href="#\1">\1</a>&quot;', text) + "</pre>"
