#: where host container
#: needs /usr/bin/python3
# A wheel is made by hand, installed with pip, and its program used.
set -e
cd "$WORK"
/usr/bin/python3 -m pip --version > /dev/null
/usr/bin/python3 - <<'P'
import zipfile
with zipfile.ZipFile('ordinary-1.0-py3-none-any.whl', 'w') as z:
    z.writestr('ordinary.py', 'def main():\n    print("hello")\n')
    z.writestr('ordinary-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\nName: ordinary\nVersion: 1.0\n')
    z.writestr('ordinary-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\nGenerator: none\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    z.writestr('ordinary-1.0.dist-info/entry_points.txt', '[console_scripts]\nordinary = ordinary:main\n')
    z.writestr('ordinary-1.0.dist-info/RECORD', 'ordinary.py,,\nordinary-1.0.dist-info/METADATA,,\nordinary-1.0.dist-info/WHEEL,,\nordinary-1.0.dist-info/entry_points.txt,,\nordinary-1.0.dist-info/RECORD,,\n')
P
/usr/bin/python3 -m pip install --quiet --no-index --disable-pip-version-check --no-cache-dir --target site ordinary-1.0-py3-none-any.whl 2> errors || { cat errors; exit 1; }
PYTHONPATH=site site/bin/ordinary | grep -q hello
