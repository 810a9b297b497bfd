"""What each refusal means and what the sender does about it, in Chinese and English, for manuals, certificates and pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gridlake.contracts.model import Contract

Extent = Literal["delivery", "row", "column"]


@dataclass(frozen=True)
class Refusal:
    """One code: what it applies to, its meaning and its remedy."""

    code: str
    extent: Extent
    meaning: str
    meaning_en: str
    remedy: str
    remedy_en: str


_ALL = (
    Refusal(
        "unknown_feed",
        "delivery",
        "平台没有这个数据接口",
        "no such feed",
        "核对目录、主题或地址中的来源和接口名称",
        "check source and feed in the path",
    ),
    Refusal(
        "unknown_sender",
        "delivery",
        "报送单位未登记",
        "the sender is not registered",
        "核对报送单位代码；未登记的先申请",
        "check the sender's code, or register",
    ),
    Refusal(
        "not_entitled",
        "delivery",
        "该单位未获准报送这一接口的这一版本",
        "the sender may not send this feed in this version",
        "申请接口权限，或改用获准的版本",
        "apply for the feed, or send the version that you are entitled to",
    ),
    Refusal(
        "retired",
        "delivery",
        "接口的这一版本已停用",
        "this version of the feed is retired",
        "改用对接手册列出的现行版本",
        "send the version now in force",
    ),
    Refusal(
        "format",
        "delivery",
        "文件格式不符、已损坏或加密",
        "the file's format is another, or it is damaged",
        "按约定格式重新生成后整件重报",
        "write the file anew and send it whole",
    ),
    Refusal(
        "header",
        "delivery",
        "首行不是约定的列名",
        "the first line does not name the columns",
        "首行写明列名，与字段表一致",
        "begin with a line of column names",
    ),
    Refusal(
        "archive_too_large", "delivery", "压缩内容解开后过大", "the archive unpacks to too much", "拆成多件报送", "send it in several deliveries"
    ),
    Refusal("volume_min", "delivery", "行数少于约定的下限", "fewer rows than agreed", "补齐后整件重报", "complete the delivery and send it again"),
    Refusal(
        "encoding",
        "row",
        "文字编码不符，或含 NUL 字符",
        "not in the agreed encoding, or with a NUL",
        "以 UTF-8（CSV 亦可 GB18030）输出，去掉 NUL",
        "write UTF-8 (CSV also GB18030), no NUL",
    ),
    Refusal(
        "json",
        "row",
        "不是一个完整的 JSON 对象",
        "not one whole JSON object",
        "每行一个对象，勿截断、勿换行",
        "one object a line, neither cut nor wrapped",
    ),
    Refusal(
        "csv", "row", "不是一条完整的 CSV 记录", "not a CSV record", "成对使用引号，引号内的引号写两次", "close quotes; double a quote inside quotes"
    ),
    Refusal(
        "column_count",
        "row",
        "列数与首行不同",
        "another number of columns than the header",
        "补齐或删去多出的列",
        "give as many columns as the header has",
    ),
    Refusal("row_too_large", "row", "单行超过 1 MiB", "a row of more than 1 MiB", "缩短长文本；大文件另行报送", "shorten long texts"),
    Refusal("duplicate_key", "row", "同一字段出现两次", "a column is named twice", "每个字段只写一次", "write each column once"),
    Refusal(
        "unknown_column",
        "row",
        "合约没有的字段",
        "a column that the contract does not have",
        "去掉该字段；确需增加的申请修订合约",
        "drop it, or ask for a change of the contract",
    ),
    Refusal("required", "column", "必填字段没有值", "a required value is missing", "补填后重报该行", "fill it in and send the row again"),
    Refusal(
        "type",
        "column",
        "类型或日期时间格式不符",
        "another type or time format",
        "按字段表的类型和格式输出，数值不加引号",
        "write the column's type and format",
    ),
    Refusal(
        "pattern",
        "column",
        "与约定的格式不符",
        "not of the agreed pattern",
        "按字段表“限制”一栏的格式填写",
        "write it by the pattern in the column table",
    ),
    Refusal("length", "column", "长度超出约定", "shorter or longer than agreed", "按约定的字数填写", "keep to the agreed length"),
    Refusal("minimum", "column", "小于约定的下限", "below the agreed minimum", "核对数值和单位", "check number and unit"),
    Refusal("maximum", "column", "大于约定的上限", "above the agreed maximum", "核对数值和单位", "check number and unit"),
    Refusal("values", "column", "不在约定的取值之内", "not one of the agreed values", "改用约定的取值", "use one of the agreed values"),
    Refusal(
        "code_list",
        "column",
        "代码表中没有的代码",
        "a code that the list does not have",
        "对照代码表改正；勿用名称代替代码",
        "recode by the list; send codes, not names",
    ),
    Refusal(
        "region_unknown", "column", "不是现行的区划代码", "no region code", "改用 12 位现行区划代码", "use a 12-digit code of the region vocabulary"
    ),
    Refusal(
        "region_scope",
        "column",
        "不在报送单位的辖区之内",
        "a region that the sender does not answer for",
        "只报本辖区数据；辖区有误的申请更正",
        "send rows of your own regions only",
    ),
    Refusal(
        "nonexistent_local_time",
        "column",
        "当地时钟没有这一时刻",
        "a time that the local clock never showed",
        "核对时区和夏令时",
        "check time zone and summer time",
    ),
    Refusal(
        "ambiguous_local_time",
        "column",
        "当地时钟两次出现这一时刻",
        "a time that the local clock showed twice",
        "写明时区偏移",
        "write the offset from UTC",
    ),
)
REFUSALS = {refusal.code: refusal for refusal in _ALL}


def refusal(code: str, contract: Contract | None = None) -> Refusal:
    """The refusal of that code; a rule of the contract is explained by its own description."""
    if code in REFUSALS:
        return REFUSALS[code]
    for rule in contract.rules if contract else ():
        if rule.name == code:
            words = rule.description or rule.name
            return Refusal(
                code,
                "row",
                f"不符合规则：{words}",
                f"breaks the rule {rule.name}",
                f"核对有关字段，使其满足：{words}",
                f"make it true: {rule.predicate}",
            )
    return Refusal(code, "row", code, code, "按合约改正后重报", "correct it by the contract and send it again")
