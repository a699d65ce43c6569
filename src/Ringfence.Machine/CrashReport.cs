using System.Globalization;
using System.Text;
using Iced.Intel;
using Ringfence.Engine;
using Ringfence.Host;

namespace Ringfence.Machine;

/// <summary>What is said of a processor that shut down: the vectors that led there, the registers, the instruction.</summary>
internal static class CrashReport
{
    private static readonly string[] Names =
        ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"];

    public static string Write(GuestMemory memory, VcpuState state, string? path)
    {
        StringBuilder text = new();
        text.AppendLine(path ?? "no reason given");
        for (int i = 0; i < 16; i++)
        {
            text.Append(CultureInfo.InvariantCulture, $"{Names[i]}={state.Registers[i]:x16}{(i % 4 == 3 ? '\n' : ' ')}");
        }
        text.AppendLine(CultureInfo.InvariantCulture, $"RIP={state.Rip:x16} RFL={state.Rflags:x8}");
        text.AppendLine(CultureInfo.InvariantCulture, $"CR0={state.Cr0:x8} CR2={state.Cr2:x16} CR3={state.Cr3:x16} CR4={state.Cr4:x8} EFER={state.Efer:x}");
        (string Name, SegmentState Value)[] segments =
        [
            ("ES", state.Es), ("CS", state.Cs), ("SS", state.Ss), ("DS", state.Ds), ("FS", state.Fs), ("GS", state.Gs), ("LDT", state.Ldtr), ("TR", state.Tr),
        ];
        foreach ((string name, SegmentState value) in segments)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"{name,-3}={value.Selector:x4} base={value.Base:x16} limit={value.Limit:x8} attributes={value.Attributes:x5}");
        }
        text.AppendLine(CultureInfo.InvariantCulture, $"GDT={state.GdtBase:x16} limit={state.GdtLimit:x4}  IDT={state.IdtBase:x16} limit={state.IdtLimit:x4}");
        AppendParameters(text, state.Paravirtual);
        text.Append(Disassemble(memory, state));
        return text.ToString();
    }

    /// <summary>What the guest wrote to Hyper-V's registers for that, if it did: Windows' stop code and its parameters.</summary>
    private static void AppendParameters(StringBuilder text, ParavirtualRegisters registers)
    {
        ulong[] parameters = [.. Enumerable.Range(0, ParavirtualRegisters.CrashParameters)
            .Select(i => registers.Values.GetValueOrDefault(ParavirtualRegisters.FirstCrashParameter + (uint)i))];
        if (parameters.Any(parameter => parameter != 0))
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"the guest reported: {string.Join(' ', parameters.Select(parameter => parameter.ToString("x16", CultureInfo.InvariantCulture)))}");
        }
    }

    /// <summary>The instruction at RIP, or that it cannot be read.</summary>
    private static string Disassemble(GuestMemory memory, VcpuState state)
    {
        ulong linear = state.LinearRip;
        Span<byte> bytes = stackalloc byte[15];
        int count = 0;
        while (count < bytes.Length && GuestPages.TryTranslate(memory, state, linear + (ulong)count, out ulong physical)
            && memory.TryRead(physical, bytes.Slice(count, 1)))
        {
            count++;
        }
        string place = string.Create(CultureInfo.InvariantCulture, $"{state.Cs.Selector:x4}:{state.Rip:x}");
        if (count == 0)
        {
            return $"{place}: the instruction cannot be read";
        }
        int bitness = state.IsCode64 ? 64 : (state.Cs.Attributes & 0x4000) != 0 ? 32 : 16;
        byte[] code = bytes[..count].ToArray();
        Iced.Intel.Decoder decoder = Iced.Intel.Decoder.Create(bitness, new ByteArrayCodeReader(code));
        decoder.IP = state.Rip;
        Instruction instruction = decoder.Decode();
        StringOutput output = new();
        new NasmFormatter().Format(instruction, output);
        return $"{place}: {Convert.ToHexStringLower(code.AsSpan(0, Math.Max(instruction.Length, 1)))}  {output.ToStringAndReset()}";
    }
}
