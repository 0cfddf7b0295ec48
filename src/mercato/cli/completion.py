"""`mercato completion`: the script that has a shell complete commands and options."""

from typing import Literal

from cyclopts import App

Shell = Literal["bash", "zsh", "fish"]

# The library's script for zsh only defines its function. zsh loads a file of fpath when it is first needed,
# and expects that it completes at once; where the file is sourced, it is made known instead.
_ZSH_END = """
if [ "$funcstack[1]" = "_mercato" ]; then
  _cyclopts_mercato "$@"
else
  compdef _cyclopts_mercato mercato
fi
"""


def script(app: App, shell: Shell) -> str:
    """Return the script, which a shell reads once; completing then runs nothing."""
    made = app.generate_completion(shell=shell)
    return made.rstrip() + "\n" + (_ZSH_END if shell == "zsh" else "")
