using System.Globalization;
using System.Text;
using Ringfence.Engine;

namespace Ringfence.Debugging;

/// <summary>
/// The registers that gdb is told of, in the order in which they travel, and the target description that says so. The features named
/// org.gnu.gdb are those that gdb looks for (GDB manual G.5.7); what it has no place for is in a feature of our own. They are always those of 64-bit
/// code, whatever the guest runs.
/// </summary>
internal sealed class GdbRegisters
{
    private const string Int32 = "int32";
    private const string Int64 = "int64";
    private const ulong ProtectedMode = 1;
    private const ulong Virtual8086 = 0x20000;

    private readonly List<(string Feature, string Types, List<GdbRegister> Registers)> _features = [];

    /// <param name="vectorBytes">How wide the processor's vector registers are; from 32 on there are YMM registers, from 64 on ZMM and opmask registers.</param>
    public GdbRegisters(int vectorBytes)
    {
        _features.Add(("org.gnu.gdb.i386.core", TargetTypes.Core, [.. Core(), .. X87Registers.All()]));
        _features.Add(("org.gnu.gdb.i386.sse", TargetTypes.Sse, [.. Vectors("xmm", 0, "vec128"), Mxcsr()]));
        if (vectorBytes >= 32)
        {
            _features.Add(("org.gnu.gdb.i386.avx", "", [.. Vectors("ymm", 16, "uint128", "h")]));
        }
        if (vectorBytes >= 64)
        {
            _features.Add(("org.gnu.gdb.i386.avx512", TargetTypes.Avx512,
            [
                .. Vectors("xmm", 0, "vec128", first: 16), .. Vectors("ymm", 16, "uint128", "h", 16), .. Opmasks(),
                .. Vectors("zmm", 32, "v2ui128", "h", 0, 32, 32),
            ]));
        }
        _features.Add(("org.gnu.gdb.i386.segments", "", [.. SegmentBases()]));
        _features.Add(("org.ringfence.system", TargetTypes.System, [.. System()]));
        All = [.. _features.SelectMany(f => f.Registers)];
        Description = Describe();
    }

    public IReadOnlyList<GdbRegister> All { get; }

    /// <summary>target.xml.</summary>
    public string Description { get; }

    /// <summary>All registers, as the packet g has them.</summary>
    public byte[] Save(VcpuState state)
    {
        byte[] all = new byte[All.Sum(r => r.Bytes)];
        int at = 0;
        foreach (GdbRegister register in All)
        {
            register.Get(state, all.AsSpan(at, register.Bytes));
            at += register.Bytes;
        }
        return all;
    }

    /// <summary>The state with as many registers as there are values of. Null if one is cut short.</summary>
    public VcpuState? Load(VcpuState state, ReadOnlySpan<byte> values)
    {
        foreach (GdbRegister register in All)
        {
            if (values.IsEmpty)
            {
                break;
            }
            if (values.Length < register.Bytes)
            {
                return null;
            }
            state = register.Set(state, values[..register.Bytes]);
            values = values[register.Bytes..];
        }
        return state;
    }

    private static IEnumerable<GdbRegister> Core()
    {
        // gdb's order, and the number each has in an instruction.
        (string Name, int Number)[] general =
        [
            ("rax", 0), ("rbx", 3), ("rcx", 1), ("rdx", 2), ("rsi", 6), ("rdi", 7), ("rbp", 5), ("rsp", 4),
            ("r8", 8), ("r9", 9), ("r10", 10), ("r11", 11), ("r12", 12), ("r13", 13), ("r14", 14), ("r15", 15),
        ];
        foreach ((string name, int number) in general)
        {
            yield return GdbRegister.Number(
                name, 8, name is "rbp" or "rsp" ? "data_ptr" : Int64, s => s.Registers[number], (s, v) => s with { Registers = Replace(s.Registers, number, v) });
        }
        yield return GdbRegister.Number("rip", 8, "code_ptr", s => s.Rip, (s, v) => s with { Rip = v });
        yield return GdbRegister.Number("eflags", 4, "i386_eflags", s => s.Rflags, (s, v) => s with { Rflags = v | 2 });
        yield return Selector("cs", s => s.Cs, (s, v) => s with { Cs = v });
        yield return Selector("ss", s => s.Ss, (s, v) => s with { Ss = v });
        yield return Selector("ds", s => s.Ds, (s, v) => s with { Ds = v });
        yield return Selector("es", s => s.Es, (s, v) => s with { Es = v });
        yield return Selector("fs", s => s.Fs, (s, v) => s with { Fs = v });
        yield return Selector("gs", s => s.Gs, (s, v) => s with { Gs = v });
    }

    /// <summary>In protected mode a selector means a descriptor, which is not read here: it cannot be changed.</summary>
    private static GdbRegister Selector(string name, Func<VcpuState, SegmentState> get, Func<VcpuState, SegmentState, VcpuState> set) =>
        GdbRegister.Number(name, 4, Int32, s => get(s).Selector, (s, v) => (s.Cr0 & ProtectedMode) != 0 && (s.Rflags & Virtual8086) == 0
            ? s : set(s, get(s) with { Selector = (ushort)v, Base = (ulong)(ushort)v << 4 }));

    private static IEnumerable<GdbRegister> Vectors(string name, int offset, string type, string suffix = "", int first = 0, int count = 16, int bytes = 16)
    {
        for (int i = first; i < first + count; i++)
        {
            int at = (i * FpuState.VectorBytes) + offset;
            yield return new GdbRegister(
                string.Create(CultureInfo.InvariantCulture, $"{name}{i}{suffix}"), bytes, type, "",
                (s, value) => s.Fpu.Vectors.AsSpan(at, bytes).CopyTo(value),
                (s, value) =>
                {
                    byte[] vectors = [.. s.Fpu.Vectors];
                    value.CopyTo(vectors.AsSpan(at));
                    return s with { Fpu = s.Fpu with { Vectors = vectors } };
                });
        }
    }

    private static IEnumerable<GdbRegister> Opmasks()
    {
        for (int i = 0; i < 8; i++)
        {
            int number = i;
            yield return GdbRegister.Number(
                string.Create(CultureInfo.InvariantCulture, $"k{i}"), 8, "uint64", s => s.Fpu.Opmasks[number],
                (s, v) => s with { Fpu = s.Fpu with { Opmasks = Replace(s.Fpu.Opmasks, number, v) } });
        }
    }

    private static GdbRegister Mxcsr() => GdbRegister.Number(
        "mxcsr", 4, "i386_mxcsr", s => s.Fpu.Mxcsr, (s, v) => s with { Fpu = s.Fpu with { Mxcsr = (uint)v & 0xFFFF } }, "vector");

    private static IEnumerable<GdbRegister> SegmentBases()
    {
        yield return GdbRegister.Number("fs_base", 8, Int64, s => s.Fs.Base, (s, v) => s with { Fs = s.Fs with { Base = v } });
        yield return GdbRegister.Number("gs_base", 8, Int64, s => s.Gs.Base, (s, v) => s with { Gs = s.Gs with { Base = v } });
    }

    private static IEnumerable<GdbRegister> System()
    {
        yield return GdbRegister.Number("k_gs_base", 8, Int64, s => s.Msrs[MsrState.KernelGsBase], (s, v) => s with
        {
            Msrs = new MsrState { Values = new Dictionary<uint, ulong>(s.Msrs.Values) { [MsrState.KernelGsBase] = v } },
        });
        yield return GdbRegister.Number("cr0", 8, "cr0", s => s.Cr0, (s, v) => s with { Cr0 = v });
        yield return GdbRegister.Number("cr2", 8, Int64, s => s.Cr2, (s, v) => s with { Cr2 = v });
        yield return GdbRegister.Number("cr3", 8, Int64, s => s.Cr3, (s, v) => s with { Cr3 = v, PaePointers = null });
        yield return GdbRegister.Number("cr4", 8, "cr4", s => s.Cr4, (s, v) => s with { Cr4 = v });
        yield return GdbRegister.Number(
            "cr8", 8, Int64, s => s.Apic.TaskPriority >> 4, (s, v) => s with { Apic = s.Apic with { TaskPriority = (uint)(v & 15) << 4 } });
        yield return GdbRegister.Number("efer", 8, "efer", s => s.Efer, (s, v) => s with { Efer = v });
    }

    private static ulong[] Replace(ulong[] values, int index, ulong value)
    {
        ulong[] changed = [.. values];
        changed[index] = value;
        return changed;
    }

    private string Describe()
    {
        StringBuilder xml = new();
        xml.Append("<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n<architecture>i386:x86-64</architecture>\n");
        foreach ((string feature, string types, List<GdbRegister> registers) in _features)
        {
            xml.Append(CultureInfo.InvariantCulture, $"<feature name=\"{feature}\">\n{types}");
            foreach (GdbRegister register in registers)
            {
                string group = register.Group.Length == 0 ? "" : $" group=\"{register.Group}\"";
                xml.Append(CultureInfo.InvariantCulture, $"<reg name=\"{register.Name}\" bitsize=\"{register.Bytes * 8}\" type=\"{register.Type}\"{group}/>\n");
            }
            xml.Append("</feature>\n");
        }
        return xml.Append("</target>\n").ToString();
    }
}
