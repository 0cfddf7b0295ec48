"""How emails look. Mail programs want a style at each element; where it is dark, `_base.html` says."""

_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"

STYLES = {
    "page": f"margin:0;padding:0;background:#f2f2f4;color:#1c1c21;{_FONT}",
    "outer": "width:100%;border-collapse:collapse;background:#f2f2f4",
    "edge": "padding:24px 12px",
    "card": "width:100%;max-width:560px;margin:0 auto;border-collapse:separate;background:#ffffff;"
    "border:1px solid #e2e2e7;border-radius:12px",
    "inside": "padding:28px 32px;text-align:left",
    "store": "margin:0 0 20px;font-size:14px;line-height:20px;font-weight:600;color:#5b5b66;"
    "overflow-wrap:anywhere",
    "title": "margin:0 0 16px;font-size:22px;line-height:28px;font-weight:600;color:#1c1c21",
    "words": "margin:0 0 16px;font-size:16px;line-height:24px;color:#1c1c21;overflow-wrap:anywhere",
    "button": "display:inline-block;margin:4px 0 20px;padding:12px 20px;border-radius:8px;background:#1f4fd8;"
    "color:#ffffff;font-size:16px;line-height:20px;font-weight:600;text-decoration:none",
    "small": "margin:0 0 12px;font-size:13px;line-height:20px;color:#5b5b66;overflow-wrap:anywhere",
    "plain": "color:#1f4fd8;overflow-wrap:anywhere",
    "list": "width:100%;margin:0 0 16px;border-collapse:collapse",
    "what": "padding:10px 12px 10px 0;border-top:1px solid #e2e2e7;font-size:15px;line-height:22px;"
    "color:#1c1c21;text-align:left;vertical-align:top;overflow-wrap:anywhere",
    "sum": "padding:10px 0;border-top:1px solid #e2e2e7;font-size:15px;line-height:22px;color:#1c1c21;"
    "text-align:right;vertical-align:top;white-space:nowrap",
    "foot": "margin:0;padding:16px 12px 0;font-size:12px;line-height:18px;color:#5b5b66;text-align:center;"
    "overflow-wrap:anywhere",
}
"""By class. Colours have at least the contrast that WCAG 2.2 asks of text (1.4.3)."""
