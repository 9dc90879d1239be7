"""AWS IoT SQL: a statement or a substitution template is compiled once and evaluated for each message. No I/O."""

from cpsim_kit.local.iot_sql.parser import SqlError
from cpsim_kit.local.iot_sql.statement import NO_MATCH, Statement, compile_sql
from cpsim_kit.local.iot_sql.substitution import Template, compile_template

__all__ = ["NO_MATCH", "SqlError", "Statement", "Template", "compile_sql", "compile_template"]
