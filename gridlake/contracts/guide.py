"""The connection manual of a feed (对接手册) as a Word document, from its contract alone: what an engineer at a sender needs to send it.

Equal contracts give equal bytes. Values of class L4 in examples are never shown: an example in somebody's contract may have been a real row.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any

from docx import Document
from docx.document import Document as DocumentType
from docx.enum.section import WD_ORIENT
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml.ns import qn
from docx.shared import Cm, Pt, RGBColor

from gridlake.contracts.model import Column, Contract
from gridlake.contracts.refusals import REFUSALS, Refusal, refusal
from gridlake.dictionary import SEALED_VALUE, example, limits
from gridlake.privacy import CLASSES
from gridlake.regions import RegionTree
from gridlake.senders import Sender
from gridlake.vocabularies import Vocabularies

# Codes of a longer list are printed only so far: such a list (regions, classes of a whole ministry) is handed over as a file.
CODES_PRINTED = 300
_BODY, _HEADING, _CODE = "仿宋", "黑体", "Consolas"
_TYPES = {"string": "文本", "integer": "整数", "number": "数值", "boolean": "是否（true/false）", "date": "日期", "timestamp": "日期时间"}
_CLASSES = {
    "L1": "公开：可在本单位范围内公开使用。",
    "L2": "内部：限工作需要使用。",
    "L3": "敏感：限授权人员使用；自由文本落地时隐去证件号、电话和本行姓名。",
    "L4": "高敏感：落地即加密，平台只保存密文和比对令牌，任何页面、报表、日志均不出现原值。",
}
_SEVERITIES = {"error": "拒收该行", "warning": "收下并计数提醒"}
_UNITS = {"d": "日", "h": "小时", "m": "个月", "y": "年", "min": "分钟", "s": "秒"}
_PROPERTIES = {"frequency": "报送频率", "latency": "报送时延", "retention": "保存期限", "availability": "可用性"}
_STATES = (
    ("accepted", "接收", "已写入落地层，永不丢失。"),
    ("refused", "拒收", "不合约定，原件密封保存；改正后以同一主键重报。"),
    ("duplicate", "重复", "与已接收的行完全相同，不再写入；无须处理。"),
    ("waiting", "等待", "所引用的对象尚未到达，到达后自动写入；无须重报。"),
)
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def write(contract: Contract, vocabularies: Vocabularies, sender: Sender | None = None) -> bytes:
    """The manual as a .docx file; with a sender its addresses and regions are the sender's own."""
    manual = _Manual(contract, vocabularies, sender)
    for section in (
        manual.purpose, manual.steps, manual.channels, manual.columns, manual.lists, manual.rules, manual.versions_of_rows, manual.regions,
        manual.classes, manual.accepted, manual.refused, manual.codes, manual.receipts, manual.promise, manual.contacts, manual.checklist,
    ):  # fmt: skip
        section()
    return manual.saved()


class _Manual:
    def __init__(self, contract: Contract, vocabularies: Vocabularies, sender: Sender | None) -> None:
        self._contract, self._vocabularies, self._sender = contract, vocabularies, sender
        self._code = sender.code if sender else "〔报送单位代码〕"
        self._number = 0
        self._document: DocumentType = Document()
        self._set_up()
        self._title()

    @property
    def _feed(self) -> str:
        return f"{self._contract.source}.{self._contract.feed}"

    # -- sections ---------------------------------------------------------------------------------------------------------------------------

    def purpose(self) -> None:
        c = self._contract
        self._heading("概述")
        self._text(f"本手册依据数据合约 {self._feed} 第 {c.version} 版编写，供报送单位的技术人员据以改造系统、开展联调并上线报送。")
        facts = [
            ("接口名称", c.title), ("接口标识", self._feed), ("合约版本", f"{c.version}（{_status(c.status)}）"),
            ("用途", c.purpose), ("使用范围", c.usage),
            ("限制说明", c.limitations), ("业务领域", c.domain), ("责任单位", c.owner), ("一行数据是", "一条记录的一个版本，以主键和版本次序区分"),
            ("时区", f"{c.time_zone}，日期时间均为该时区的当地时间"), ("坐标系", c.coordinate_system if any(x.position for x in c.columns) else ""),
            *map(_agreed, c.sla),
        ]  # fmt: skip
        self._table(("项目", "内容"), [(k, v) for k, v in facts if v], (4, 13))

    def steps(self) -> None:
        self._heading("对接流程")
        for text in (
            "申请：向责任单位申请本接口的报送权限，登记报送单位代码、辖区和合约版本范围。",
            "改造：按本手册第四至第八章改造本单位系统，完成字段、代码和区划的对照。",
            "取得凭证：用 HTTP 或消息通道的，领取签名密钥或主题权限；密钥只显示一次，妥善保管，不得写入代码。",
            "联调：在沙箱中报送测试数据，由平台逐例核对；测试数据不得含真实个人信息。核对命令为 "
            f"gridlake conform --sender {self._code} --feed {self._feed} --endpoint 〔沙箱地址〕。",
            "取得证书：用例全部通过、且本单位自报数据通过检查的，平台出具签名的联调通过证书，可离线核验。",
            "上线：凭证书切换到正式地址；首日应逐件核对回执，收到、接收、拒收、重复、等待五数相符。",
        ):  # fmt: skip
            self._item(text)

    def channels(self) -> None:
        c = self._contract
        self._heading("报送通道")
        self._text("以下通道任选其一，同一行数据经不同通道报送，结果相同。报送单位的身份由通道认定，数据内容中的单位名称不作依据。")
        self._table(
            ("通道", "地址", "格式", "回执", "适用"),
            [
                (
                    "文件",
                    f"{c.source}/{c.feed}/{self._code}/",
                    "JSONL、CSV（二者可 gzip 压缩）、XLSX、Parquet",
                    "由平台逐件提供",
                    "每日或补报，大批量",
                ),
                (
                    "HTTP 推送",
                    f"POST /feeds/{c.source}/{c.feed}",
                    "NDJSON、JSON、CSV（可 gzip 压缩）",
                    "应答即回执，应答前已落盘",
                    "随办随报，单行至数万行",
                ),
                (
                    "消息（Kafka）",
                    f"主题 {c.source}.{c.feed}.{self._code}",
                    "每条消息一个 JSON 对象",
                    f"主题 {c.source}.{c.feed}.{self._code}.receipt",
                    "持续、高频",
                ),
            ],
            (2.2, 4.6, 3.8, 3.2, 3.2),
        )
        self._text(
            "文件通道：先以“.”或“_”开头的名字写入，写完后改名，或写完后在旁放一个“文件名.done”；"
            "同一报送单位的文件按文件名次序落地。CSV 首行为字段名；UTF-8 或 GB18030 编码。"
        )
        self._text(
            "HTTP 通道：请求须签名（RFC 9421，hmac-sha256，含时间戳和一次性随机数），并带 Idempotency-Key；"
            "应答丢失时以同一 Idempotency-Key 原样重发，不会重复入库。"
        )
        self._text("消息通道：消息的键用主键，使同一主键的各版本先后有序；单条不超过 1 MiB。")
        volume = c.volume
        said = [f"一件至少 {volume.min:,} 行，不足的整件拒收" if volume.min else "", f"超过 {volume.max:,} 行的提醒核对" if volume.max else ""]
        if any(said):
            self._text("行数约定（文件通道）：" + "；".join(s for s in said if s) + "。")

    def columns(self) -> None:
        self._heading("字段表")
        ignored = "、".join(self._contract.ignored_columns)
        except_for = f"，{ignored} 除外（可报送，不保存）" if ignored else ""
        self._text(f"字段名区分大小写。合约没有的字段一律拒收{except_for}。没有值的选填字段可省略或为空。")
        rows = [
            (
                str(n),
                c.name,
                c.title,
                _TYPES[c.logical_type],
                "是" if c.required or c.key_position else "",
                c.classification,
                _limited(c),
                c.description,
            )
            for n, c in enumerate(self._contract.columns, 1)
        ]
        self._table(("序号", "字段名", "中文名", "类型", "必填", "分级", "限制", "说明"), rows, (1, 3.2, 2.4, 1.6, 1, 1, 4.6, 2.4))
        self._text("另有操作字段 _op：upsert（新增或更新，缺省）或 delete（删除）。删除行只需主键和版本字段。")

    def lists(self) -> None:
        self._heading("代码表")
        names = dict.fromkeys(c.code_list for c in self._contract.columns if c.code_list)
        if not names:
            self._text("本接口不使用代码表。")
        for name in names:
            used = "、".join(f"{c.title}（{c.name}）" for c in self._contract.columns if c.code_list == name)
            self._subheading(f"{name}：用于{used}")
            if name not in self._vocabularies:
                self._text("该代码表由责任单位另行提供。")
                continue
            rows = self._vocabularies[name].rows
            printed = rows.slice(0, CODES_PRINTED).to_pylist()
            self._table(("代码", "名称", "英文名"), [(r["code"], r.get("name_zh") or "", r.get("name_en") or "") for r in printed], (3.5, 6.5, 7))
            if rows.num_rows > CODES_PRINTED:
                self._text(f"共 {rows.num_rows} 项，以上为前 {CODES_PRINTED} 项，其余见随附的 {name}.csv。")

    def rules(self) -> None:
        self._heading("校验规则")
        self._text("每行先逐字段校验类型、必填、长度、范围、格式、取值、代码和区划，再校验下列规则。一行不合格只拒收该行，不影响其他行。")
        if self._contract.rules:
            self._table(
                ("规则", "说明", "判定条件", "不满足时"),
                [(r.name, r.description or r.name, r.predicate, _SEVERITIES[r.severity]) for r in self._contract.rules], (4, 4.5, 5.5, 3),
            )  # fmt: skip
        else:
            self._text("本接口没有跨字段规则。")

    def versions_of_rows(self) -> None:
        c = self._contract
        self._heading("主键、更新、删除与重复")
        key = "、".join(f"{x.title}（{x.name}）" for x in c.key)
        order = "、".join(f"{x.title}（{x.name}）" for x in c.version_order)
        self._text(f"主键为{key}，在报送单位内唯一，一经使用不得改指其他对象。")
        self._text(
            f"更新：以同一主键报送新的内容，{order}须随之增大；平台以其最大者为当前版本，先后到达的次序不影响结果。"
            if order
            else "更新：以同一主键报送新的内容，以后到者为当前版本。"
        )
        self._text("删除：报送 _op 为 delete 的行。删除后可再以同一主键报送。")
        self._text(f"重复：{_window(c.repeat_window.total_seconds())}内内容完全相同的行判为重复，不再写入。因此网络中断后可放心重报。")

    def regions(self) -> None:
        c = self._contract
        self._heading("区划范围")
        columns = [x for x in c.columns if x.is_region]
        if not columns:
            self._text("本接口没有区划字段，不校验辖区。")
            return
        fields = "、".join(f"{x.title}（{x.name}）" for x in columns)
        self._text(f"{fields}用区划体系 {c.region_system} 的现行代码，且须在报送单位的辖区之内；辖区之外的行拒收。")
        if self._sender is not None:
            self._text(f"{self._sender.name}（{self._sender.code}）的辖区：{self._scope(self._sender)}。")

    def classes(self) -> None:
        self._heading("数据分级与保护")
        used = sorted({c.classification for c in self._contract.columns})
        rows = [
            (level, _CLASSES.get(level, CLASSES[level]), "、".join(c.name for c in self._contract.columns if c.classification == level))
            for level in used
        ]
        self._table(("分级", "含义与平台的保护措施", "字段"), rows, (1.6, 7.4, 8))
        redacted = [c.name for c in self._contract.columns if c.redact]
        if redacted:
            self._text(f"{'、'.join(redacted)} 为自由文本，落地时自动隐去证件号、电话和本行姓名，原文密存。")

    def accepted(self) -> None:
        self._heading("接收示例")
        self._text(f"以下各行可被接收。分级为 L4 的值以“{SEALED_VALUE}”代替，报送时应为真实的值；联调时应为虚构的值。")
        for number, row in enumerate(self._contract.accept, 1):
            self._text(f"示例 {number}：")
            self._code_block(_json(example(self._contract, row)))

    def refused(self) -> None:
        self._heading("拒收示例")
        self._text("以下各行会被拒收，原因和处理办法如下。")
        titles = {c.name: c.title for c in self._contract.columns}
        for number, rejected in enumerate(self._contract.reject, 1):
            why = refusal(rejected.rule, self._contract)
            place = f"，字段 {titles.get(rejected.field, rejected.field)}（{rejected.field}）" if rejected.field else ""
            self._text(f"示例 {number}：{rejected.rule}{place}。{why.meaning}；{why.remedy}。")
            self._code_block(_json(example(self._contract, rejected.row)))

    def codes(self) -> None:
        self._heading("错误代码")
        extents = {"delivery": "整件", "row": "整行", "column": "字段"}
        own = [refusal(rule.name, self._contract) for rule in self._contract.rules if rule.severity == "error"]
        rows = [(r.code, extents[r.extent], r.meaning, r.remedy) for r in [*self._possible(), *own]]
        self._table(("代码", "范围", "含义", "处理办法"), rows, (4.2, 1.4, 5.4, 6))
        self._text("回执中的原因写作“代码/字段”，只说明约定为何、来者何类，不含数据原值。")

    def receipts(self) -> None:
        self._heading("回执")
        self._text("每件（HTTP 为每次请求）均有回执：收到 = 接收 + 拒收 + 重复 + 等待。报送单位应逐件核对，收到数与发出数不符的即时查找。")
        self._table(("状态", "中文", "含义"), _STATES, (2.6, 2, 12.4))
        self._code_block(
            _json(
                {
                    "feed": self._feed, "sender": self._code, "contract_version": self._contract.version, "received": 4, "accepted": 2, "refused": 1,
                    "duplicate": 1, "waiting": 0, "reasons": {self._sample_reason(): 1},
                }
            )
        )  # fmt: skip

    def promise(self) -> None:
        c = self._contract
        major = c.version.partition(".")[0]
        self._heading("版本与变更")
        for text in (
            f"版本号为 主.次.修订。主版本 {major} 之内，现在正确的报送将一直正确：只增加选填字段、放宽限制、增加代码，报送单位可以不改。",
            f"必须改造的变更另立主版本，与现行版本并行（接口标识为 {c.source}.{c.family or c.feed}_v{int(major) + 1}）；"
            "给足改造时间后现行版本才停用，停用前状态先改为“即将停用”并通知。",
            "任何变更都列入下表并注明日期和报送单位须做的事。",
        ):
            self._item(text)
        rows = [(r.version, r.date.isoformat(), r.what, r.sender or "无须处理") for r in c.releases] or [
            (c.version, "现行", "现行版本", "按本手册报送")
        ]
        self._table(("版本", "日期", "变更内容", "报送单位须做"), rows, (2, 3, 6.5, 5.5))

    def contacts(self) -> None:
        self._heading("联系")
        owner = self._contract.owner or "平台运行管理单位"
        rows = [("业务与合约", owner, "字段含义、代码、规则、合约变更、报送权限")]
        rows += [
            ("技术联调", f"{owner}（联调）", "沙箱、凭证、证书、回执核对"),
            ("故障与补报", f"{owner}（值班）", "通道中断、漏报补报、密钥遗失（遗失即停用，另发）"),
        ]
        self._table(("事项", "负责", "内容"), rows, (3, 6, 8))

    def checklist(self) -> None:
        c = self._contract
        self._heading("对接检查清单")
        lists = len({x.code_list for x in c.columns if x.code_list})
        items = [
            "报送单位代码、辖区和版本范围已登记",
            "通道已选定，凭证已领取并妥善保管",
            f"{len(c.columns)} 个字段的来源均已确定，必填字段均有值",
            f"{lists} 张代码表已完成对照，没有以名称代替代码" if lists else "",
            "区划代码已换为 12 位现行代码，且都在辖区内" if any(x.is_region for x in c.columns) else "",
            f"日期时间按 {c.time_zone} 当地时间、约定格式输出",
            f"坐标为 {c.coordinate_system}" if any(x.position for x in c.columns) else "",
            "主键稳定，更新时版本字段增大，删除以 _op=delete 报送",
            "失败后原样重发，不另造主键",
            "回执逐件核对，拒收的行改正后重报",
            "沙箱用例全部通过，自报测试数据通过",
            "联调通过证书已取得并核验",
            "上线首日五数相符",
        ]
        self._table(
            ("序号", "检查事项", "结果", "核对人"), [(str(n), text, "□", "") for n, text in enumerate(filter(None, items), 1)], (1.2, 11.3, 1.7, 2.8)
        )

    # -- parts ------------------------------------------------------------------------------------------------------------------------------

    def _possible(self) -> Iterable[Refusal]:
        """The codes that this feed can meet."""
        columns = self._contract.columns
        is_used = {
            "pattern": any(c.pattern for c in columns),
            "length": any(c.min_length is not None or c.max_length is not None for c in columns),
            "minimum": any(c.minimum is not None for c in columns),
            "maximum": any(c.maximum is not None for c in columns),
            "values": any(c.values for c in columns),
            "code_list": any(c.code_list for c in columns),
            "region_unknown": any(c.is_region for c in columns),
            "region_scope": any(c.is_region for c in columns),
        }
        return [r for r in REFUSALS.values() if is_used.get(r.code, True)]

    def _sample_reason(self) -> str:
        first: Column = next(c for c in self._contract.columns if c.required or c.key_position)
        return f"required/{first.name}"

    def _scope(self, sender: Sender) -> str:
        if sender.accepts_all_regions:
            return "不限"
        regions = self._vocabularies.regions
        names = dict(zip(regions.column("region_code").to_pylist(), regions.column("region_name").to_pylist(), strict=True))
        below = len(RegionTree(regions).subtree(self._contract.region_system, sender.regions))
        return "、".join(f"{names.get(code, '')}（{code}）" for code in sender.regions) + f"及以下，共 {below:,} 个区划"

    def _set_up(self) -> None:
        section = self._document.sections[0]
        section.orientation = WD_ORIENT.PORTRAIT
        section.page_width, section.page_height = Cm(21), Cm(29.7)
        section.left_margin = section.right_margin = Cm(2)
        section.top_margin = section.bottom_margin = Cm(2.2)
        for style, font, size in (("Normal", _BODY, 11), ("Title", _HEADING, 24), ("Heading 1", _HEADING, 15), ("Heading 2", _HEADING, 12)):
            found = self._document.styles[style]
            found.font.name, found.font.size = "Times New Roman", Pt(size)
            found.font.color.rgb = RGBColor(0, 0, 0)
            found.element.get_or_add_rPr().get_or_add_rFonts().set(qn("w:eastAsia"), font)
        footer = section.footer.paragraphs[0]
        footer.text = f"{self._contract.title}接口对接手册　{self._feed} {self._contract.version}"
        footer.alignment = WD_ALIGN_PARAGRAPH.CENTER

    def _title(self) -> None:
        title = self._document.add_paragraph(f"{self._contract.title}接口对接手册", style="Title")
        title.alignment = WD_ALIGN_PARAGRAPH.CENTER
        below = f"{self._feed}　第 {self._contract.version} 版" + (f"　{self._sender.name}" if self._sender else "")
        self._document.add_paragraph(below).alignment = WD_ALIGN_PARAGRAPH.CENTER

    def _heading(self, text: str) -> None:
        self._number += 1
        self._document.add_paragraph(f"第{_chinese(self._number)}章　{text}", style="Heading 1")

    def _subheading(self, text: str) -> None:
        self._document.add_paragraph(text, style="Heading 2")

    def _text(self, text: str) -> None:
        self._document.add_paragraph(text).paragraph_format.first_line_indent = Pt(22)

    def _item(self, text: str) -> None:
        self._document.add_paragraph(text, style="List Number")

    def _code_block(self, text: str) -> None:
        run = self._document.add_paragraph().add_run(text)
        run.font.name, run.font.size = _CODE, Pt(9)
        run._element.get_or_add_rPr().get_or_add_rFonts().set(qn("w:eastAsia"), _BODY)

    def _table(self, headings: Sequence[str], rows: Iterable[Sequence[str]], widths_cm: Sequence[float]) -> None:
        listed = list(rows)
        table = self._document.add_table(rows=len(listed) + 1, cols=len(headings), style="Table Grid")
        table.autofit = False
        # Cells by row: python-docx walks the whole table for each `table.cell`.
        for place, (row, texts) in enumerate(zip(table.rows, [headings, *listed], strict=True)):
            for cell, text, width in zip(row.cells, texts, widths_cm, strict=True):
                cell.width = Cm(width)
                run = cell.paragraphs[0].add_run(text)
                run.font.size, run.bold = Pt(9), place == 0
        header = table.rows[0]._tr.get_or_add_trPr()
        header.append(header.makeelement(qn("w:tblHeader"), {qn("w:val"): "true"}))
        self._document.add_paragraph()

    def saved(self) -> bytes:
        """The file; its properties carry the version's date instead of the time of writing."""
        c = self._contract
        at = datetime.combine(c.releases[0].date, time(), UTC) if c.releases else datetime(1980, 1, 1, tzinfo=UTC)
        properties = self._document.core_properties
        properties.title, properties.subject = f"{c.title}接口对接手册", f"{self._feed} {c.version}"
        properties.author = properties.last_modified_by = "gridlake"
        properties.comments = ""
        properties.created = properties.modified = at.replace(tzinfo=None)
        written, fixed = io.BytesIO(), io.BytesIO()
        self._document.save(written)
        with zipfile.ZipFile(written) as source, zipfile.ZipFile(fixed, "w", zipfile.ZIP_DEFLATED) as target:
            for entry in source.infolist():
                target.writestr(zipfile.ZipInfo(entry.filename, _ZIP_EPOCH), source.read(entry), zipfile.ZIP_DEFLATED)
        return fixed.getvalue()


def _limited(column: Column) -> str:
    return "；".join([*limits(column), *([f"代码表 {column.code_list}"] if column.code_list else [])])


def _agreed(given: Mapping[str, Any]) -> tuple[str, str]:
    name, unit = str(given.get("property")), str(given.get("unit") or "")
    return _PROPERTIES.get(name, name), f"{given.get('value')} {_UNITS.get(unit, unit)}".strip()


def _json(row: Any) -> str:
    return json.dumps(row, ensure_ascii=False, default=str, indent=2)


def _status(status: str) -> str:
    return {"active": "现行", "deprecated": "即将停用", "retired": "已停用", "draft": "征求意见"}.get(status, status)


def _window(seconds: float) -> str:
    return next((f"{seconds / size:g} {unit}" for size, unit in ((86400, "日"), (3600, "小时"), (60, "分钟")) if seconds >= size), f"{seconds:g} 秒")


def _chinese(number: int) -> str:
    digits = "零一二三四五六七八九"
    tens, ones = divmod(number, 10)
    return (("" if tens < 2 else digits[tens]) + "十" if tens else "") + (digits[ones] if ones else "")
