using System.Globalization;
using System.Text;
using Iced.Intel;
using Ringfence.Cpu.Tests.Differential;

namespace Ringfence.Cpu.Tests.Integer;

/// <summary>Runs the same code from the same start on both processors and tells in what they differ.</summary>
internal sealed unsafe class Comparison : IDisposable
{
    private const ulong ArithmeticAndDirection = 0xCD5;
    private readonly HostProcessor _host = new();
    private readonly GuestProcessor _guest = new();
    private readonly byte[] _fill = new byte[Layout.StackBytes];
    private ulong _next = Layout.Code;

    public Comparison(Random random)
    {
        random.NextBytes(_fill);
    }

    public Registers* Start => _host.Start;

    /// <summary>What RSP points to at the start, if it matters.</summary>
    public ulong? Top { get; set; }

    public int Runs { get; private set; }

    public int Faults { get; private set; }

    /// <summary>Puts code in both memories. Returns where it is, or 0 if one of the instructions has no such encoding.</summary>
    public ulong Place(IReadOnlyList<Instruction> instructions)
    {
        if (_next + 8192 > Layout.Code + Layout.CodeBytes)
        {
            _next = Layout.Code;
            _guest.CodeChanged();
        }
        var writer = new Writer();
        if (!BlockEncoder.TryEncode(64, new InstructionBlock(writer, [.. instructions], _next), out _, out _, BlockEncoderOptions.DontFixBranches))
        {
            return 0;
        }
        ulong code = _next;
        ulong end = code + (ulong)writer.Bytes.Count;
        byte[] bytes = [.. writer.Bytes];
        bytes.CopyTo(new Span<byte>((void*)code, bytes.Length));
        byte[] jump = [0xE9, .. BitConverter.GetBytes((int)(HostProcessor.ExitAddress - end - 5))];
        jump.CopyTo(new Span<byte>((void*)end, 5));
        _guest.Write(code, [.. bytes, 0xF4]);
        _next = end + 5;
        return code;
    }

    /// <summary>Leaves so many bytes before the next code: to bring it to the end of a page.</summary>
    public void Skip(int bytes) => _next += (ulong)bytes;

    /// <summary>Leaves room so that the next code begins so many bytes before the end of a page.</summary>
    public void SkipToPageEnd(int bytes)
    {
        ulong past = _next + (ulong)bytes;
        _next += (0x1000 - (past & 0xFFF)) & 0xFFF;
    }

    /// <summary>See <see cref="GuestProcessor.Disturb"/>.</summary>
    public void Disturb() => _guest.Disturb();

    public static string Text(IEnumerable<Instruction> instructions) =>
        string.Join("; ", instructions.Select(i => $"{i.ToString()} [{i.Code}]"));

    public void Dispose()
    {
        _guest.Dispose();
        _host.Dispose();
    }

    /// <summary>Runs from <see cref="Start"/>. Null: no difference.</summary>
    /// <param name="code">What <see cref="Place"/> returned.</param>
    /// <param name="undefined">Flags that the code leaves undefined.</param>
    public string? Run(ulong code, ulong undefined)
    {
        Runs++;
        LongRun.Count(1);
        Fill(Layout.Data, Layout.DataBytes);
        Fill(Layout.Stack, Layout.StackBytes);
        if (Top is ulong top)
        {
            *(ulong*)Start->Gpr[4] = top;
            _guest.Write(Start->Gpr[4], BitConverter.GetBytes(top));
        }
        Registers guest = *Start;
        Ending guestEnding = _guest.Run(code, &guest);
        Ending hostEnding = _host.Run(code);
        Registers* host = _host.Result;
        var text = new StringBuilder();
        if (hostEnding.Trap != Trap.None)
        {
            Faults++;
        }
        if (hostEnding != guestEnding)
        {
            text.Append(CultureInfo.InvariantCulture, $" ending host {hostEnding.Trap} at +{hostEnding.FaultRip - code:x}, guest {guestEnding.Trap} at +{guestEnding.FaultRip - code:x} {_guest.Report}");
        }
        for (int i = 0; i < 16; i++)
        {
            if (host->Gpr[i] != guest.Gpr[i])
            {
                text.Append(CultureInfo.InvariantCulture, $" {Register.RAX + i} host {host->Gpr[i]:x} guest {guest.Gpr[i]:x}");
            }
        }
        ulong compared = hostEnding.Trap == Trap.Divide || (hostEnding.Trap != Trap.None && undefined != 0) ? 0 : ArithmeticAndDirection & ~undefined;
        if (((host->Flags ^ guest.Flags) & compared) != 0)
        {
            text.Append(CultureInfo.InvariantCulture, $" flags host {host->Flags & compared:x} guest {guest.Flags & compared:x}");
        }
        Difference(text, Layout.Data, Layout.DataBytes);
        Difference(text, Layout.Stack, Layout.StackBytes);
        if (text.Length == 0)
        {
            return null;
        }
        text.Append(" from");
        for (int i = 0; i < 16; i++)
        {
            text.Append(CultureInfo.InvariantCulture, $" {Start->Gpr[i]:x}");
        }
        text.Append(CultureInfo.InvariantCulture, $" flags {Start->Flags:x}");
        return text.ToString();
    }

    private void Fill(ulong address, ulong length)
    {
        _fill.AsSpan(0, (int)length).CopyTo(new Span<byte>((void*)address, (int)length));
        _guest.Write(address, _fill.AsSpan(0, (int)length));
    }

    private void Difference(StringBuilder text, ulong address, ulong length)
    {
        for (ulong page = address; page < address + length; page += 0x1000)
        {
            var host = new ReadOnlySpan<byte>((void*)page, 0x1000);
            var guest = new ReadOnlySpan<byte>(_guest.Pointer(page), 0x1000);
            int at = host.CommonPrefixLength(guest);
            if (at != 0x1000)
            {
                int run = Math.Min(16, 0x1000 - at);
                text.Append(CultureInfo.InvariantCulture, $" [{page + (ulong)at:x}] host {Convert.ToHexString(host.Slice(at, run))} guest {Convert.ToHexString(guest.Slice(at, run))}");
            }
        }
    }

    private sealed class Writer : CodeWriter
    {
        public List<byte> Bytes { get; } = [];

        public override void WriteByte(byte value) => Bytes.Add(value);
    }
}
