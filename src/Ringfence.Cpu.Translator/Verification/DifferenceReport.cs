using System.Globalization;
using System.Text;
using Iced.Intel;
using Ringfence.Cpu.X87;

namespace Ringfence.Cpu.Translator;

/// <summary>Translated code did something else than the interpreter. The message is the whole report, in several lines.</summary>
public sealed class TranslationDifferenceException(string report) : Exception(report);

/// <summary>What is said of a difference: the code, the start, and what each made of it.</summary>
internal sealed unsafe class DifferenceReport(Processor processor, StoreLog log)
{
    private readonly StringBuilder _text = new();

    public string Write(string difference, CheckedCode code, int count, ulong at, ref readonly RegisterImage start, ref readonly RegisterImage translated,
        ref readonly RegisterImage interpreted)
    {
        Line($"translated code differs from the interpreter: {difference}");
        _text.AppendLine("the code that ran:");
        NasmFormatter formatter = new();
        StringOutput output = new();
        foreach (Instruction instruction in code.Steps.Take(count).Select(step => step.Instruction))
        {
            formatter.Format(instruction, output);
            Line($"  {at:x16}  {Bytes(at, instruction.Length),-30}  {output.ToStringAndReset()}");
            at += (ulong)instruction.Length;
        }
        Line($"{"",-6} {"start",-18} {"translated",-18} {"interpreted",-18}");
        for (int i = 0; i < StateComparison.Names.Length; i++)
        {
            Row(StateComparison.Names[i], start.Gpr[i], translated.Gpr[i], interpreted.Gpr[i]);
        }
        Row("RIP", start.Rip, translated.Rip, interpreted.Rip);
        Row("RFLAGS", start.Flags, translated.Flags, interpreted.Flags);
        Row("MXCSR", start.Mxcsr, translated.Mxcsr, interpreted.Mxcsr);
        for (int i = 0; i < RegisterImage.VectorRegisters; i++)
        {
            ReadOnlySpan<byte> a = RegisterImage.Vector(in translated, i);
            ReadOnlySpan<byte> b = RegisterImage.Vector(in interpreted, i);
            if (!a.SequenceEqual(b))
            {
                Line($"vector register {i}, byte 0 first:");
                Line($"  start       {Convert.ToHexStringLower(RegisterImage.Vector(in start, i))}");
                Line($"  translated  {Convert.ToHexStringLower(a)}");
                Line($"  interpreted {Convert.ToHexStringLower(b)}");
            }
        }
        if (!RegisterImage.Fpu(in translated).SequenceEqual(RegisterImage.Fpu(in interpreted)))
        {
            X87Rows(start.X87, translated.X87, interpreted.X87);
        }
        for (int i = 0; i < log.Count; i++)
        {
            ref LoggedStore store = ref log[i];
            int bytes = (int)store.Bytes;
            fixed (byte* old = store.Old, translatedBytes = store.New)
            {
                Line($"store {i + 1}, byte 0 first: before {Hex(old, bytes)} translated {Hex(translatedBytes, bytes)} interpreted {Hex(store.Address, bytes)}");
            }
        }
        return _text.ToString();
    }

    private void X87Rows(in X87State start, in X87State translated, in X87State interpreted)
    {
        Row("FCW", start.ControlWord, translated.ControlWord, interpreted.ControlWord);
        Row("FSW", start.StatusWord, translated.StatusWord, interpreted.StatusWord);
        Row("FTW", start.Tags, translated.Tags, interpreted.Tags);
        Row("FOP", start.Opcode, translated.Opcode, interpreted.Opcode);
        Row("FCS", start.InstructionSelector, translated.InstructionSelector, interpreted.InstructionSelector);
        Row("FIP", start.InstructionPointer, translated.InstructionPointer, interpreted.InstructionPointer);
        Row("FDS", start.DataSelector, translated.DataSelector, interpreted.DataSelector);
        Row("FDP", start.DataPointer, translated.DataPointer, interpreted.DataPointer);
        for (int i = 0; i < 8; i++)
        {
            (Float80 a, Float80 b, Float80 c) = (start.GetPhysical(i), translated.GetPhysical(i), interpreted.GetPhysical(i));
            Row($"R{i}", a.Significand, b.Significand, c.Significand);
            Row($"R{i} exp", a.SignExponent, b.SignExponent, c.SignExponent);
        }
    }

    private static string Hex(byte* at, int bytes) => Convert.ToHexStringLower(new ReadOnlySpan<byte>(at, bytes));

    private string Bytes(ulong linear, int length)
    {
        byte* page = processor.Mmu.TranslateFetch(linear, out ulong physical) ? processor.Mmu.HostPage(physical) : null;
        return page == null ? "?" : Hex(page, length);
    }

    private void Row(string name, ulong start, ulong translated, ulong interpreted) =>
        Line($"{name,-6} {start:x16}   {translated:x16}   {interpreted:x16} {(translated == interpreted ? "" : "<")}");

    private void Line(FormattableString line) => _text.AppendLine(line.ToString(CultureInfo.InvariantCulture).TrimEnd());
}
