using System.Globalization;
using System.Text;
using Ringfence.Engine;

namespace Ringfence.Debugging;

/// <summary>
/// One debugger's conversation in gdb's remote serial protocol (GDB manual, appendix E), about a machine that stands still when it begins. All-stop: when one
/// vCPU stops, all do. vCPUs are threads 1 to n. Whatever arrives, it answers or ignores, and never throws. Not thread-safe.
/// </summary>
internal sealed class GdbSession
{
    private const int InterruptSignal = 2;
    private const int TrapSignal = 5;
    private const int SegmentationSignal = 11;
    /// <summary>EFAULT.</summary>
    private const string BadAddress = "E0e";
    /// <summary>EINVAL.</summary>
    private const string Invalid = "E16";
    private const string Done = "OK";
    /// <summary>What is not understood is answered with nothing.</summary>
    private const string Unknown = "";
    private const string FeaturesRead = "qXfer:features:read:target.xml:";

    private readonly IDebugTarget _target;
    private readonly Action<byte[]> _send;
    private readonly GdbRegisters _registers;
    private readonly Packets.Reader _reader = new();
    private readonly MonitorCommands _monitor;
    private readonly HashSet<ulong> _softwareBreakpoints = [];
    private readonly HashSet<ulong> _hardwareBreakpoints = [];
    private byte[] _lastSent = [];
    private bool _acknowledges = true;
    private bool _running;
    private bool _knowsStopReasons;
    private string _stopReply;
    private ResumeAction[] _lastActions = [];
    /// <summary>The vCPU that stopped last, and what "any thread" means.</summary>
    private int _current;
    /// <summary>The vCPU that g, m and their like are about.</summary>
    private int _selected;

    /// <param name="send">Takes bytes for the debugger.</param>
    public GdbSession(IDebugTarget target, Action<byte[]> send)
    {
        _target = target;
        _send = send;
        _registers = new GdbRegisters(target.VectorBytes);
        _monitor = new MonitorCommands(target);
        _stopReply = Stop(TrapSignal, 0, "");
    }

    /// <summary>The debugger has left the machine, or ended it: there is nothing more to say.</summary>
    public bool Over { get; private set; }

    /// <summary>Takes bytes as they came.</summary>
    public void Receive(ReadOnlySpan<byte> bytes)
    {
        foreach (byte value in bytes)
        {
            if (Over)
            {
                return;
            }
            if (_reader.Read(value) is { } incoming)
            {
                Take(incoming);
            }
        }
    }

    /// <summary>A vCPU has stopped by itself, perhaps.</summary>
    public void TargetStopped()
    {
        if (!_running || Over)
        {
            return;
        }
        _target.Pause();
        _running = false;
        if (_target.TakeStop() is { } stop)
        {
            Report(stop);
        }
        else
        {
            // Told of already, together with another.
            Resume(_lastActions);
        }
    }

    /// <summary>The machine has ended.</summary>
    public void TargetEnded()
    {
        if (!Over)
        {
            Over = true;
            Send("W00");
        }
    }

    private void Take(Incoming incoming)
    {
        switch (incoming.Kind)
        {
            case IncomingKind.Packet:
                if (_acknowledges)
                {
                    _send("+"u8.ToArray());
                }
                Handle(incoming.Body);
                break;
            case IncomingKind.Broken when _acknowledges:
                _send("-"u8.ToArray());
                break;
            case IncomingKind.Refused when _acknowledges && _lastSent.Length > 0:
                _send(_lastSent);
                break;
            case IncomingKind.Interrupt when _running:
                _target.Pause();
                _running = false;
                if (_target.TakeStop() is { } stop)
                {
                    Report(stop);
                }
                else
                {
                    Tell(Stop(InterruptSignal, _current, ""));
                }
                break;
        }
    }

    private void Handle(byte[] body)
    {
        if (_running)
        {
            // Only Ctrl-C makes sense now.
            Send(Invalid);
            return;
        }
        PacketText text = new(body);
        char command = text.Next();
        switch (command)
        {
            case '?': Send(_stopReply); break;
            case 'g': Send(Convert.ToHexStringLower(_registers.Save(_target.Read(_selected)))); break;
            case 'G': Send(WriteRegisters(text)); break;
            case 'p': Send(ReadRegister(text)); break;
            case 'P': Send(WriteRegister(text)); break;
            case 'm': Send(ReadMemory(text)); break;
            case 'x': SendMemory(text); break;
            case 'M' or 'X': Send(WriteMemory(text, command == 'X')); break;
            case 'Z' or 'z': Send(ChangePoint(text, command == 'Z')); break;
            case 'H': Send(SelectThread(text)); break;
            case 'T': Send(text.Thread(out int thread) && Exists(thread) ? Done : Invalid); break;
            case 'c' or 's' or 'C' or 'S': ResumeOld(text, command); break;
            case 'v': HandleLong(text); break;
            case 'q' or 'Q': HandleQuery(text, command == 'Q'); break;
            case 'D':
                Send(Done);
                Over = true;
                _target.Detach();
                break;
            case 'k':
                Over = true;
                _target.Kill();
                break;
            default: Send(Unknown); break;
        }
    }

    private void HandleLong(PacketText text)
    {
        if (text.Take("Cont?"))
        {
            Send("vCont;c;C;s;S;t");
        }
        else if (text.Take("Cont"))
        {
            if (ParseActions(text) is { } actions)
            {
                Resume(actions);
            }
            else
            {
                Send(Invalid);
            }
        }
        else if (text.Take("Kill"))
        {
            Send(Done);
            Over = true;
            _target.Kill();
        }
        else
        {
            // vMustReplyEmpty among them.
            Send(Unknown);
        }
    }

    private void HandleQuery(PacketText text, bool set)
    {
        if (set)
        {
            bool quiet = text.Take("StartNoAckMode");
            Send(quiet ? Done : Unknown);
            _acknowledges &= !quiet;
        }
        else if (text.Take("Supported"))
        {
            _knowsStopReasons = Encoding.Latin1.GetString(text.Rest).Contains("swbreak+", StringComparison.Ordinal);
            Send(string.Create(
                CultureInfo.InvariantCulture,
                $"PacketSize={Packets.MaximumBody:x};qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+;binary-upload+"));
        }
        else if (text.Take(FeaturesRead[1..]))
        {
            Send(ReadDescription(text));
        }
        else if (text.Take("fThreadInfo"))
        {
            Send("m" + string.Join(',', Enumerable.Range(0, _target.Vcpus).Select(Id)));
        }
        else if (text.Take("sThreadInfo"))
        {
            Send("l");
        }
        else if (text.Take("ThreadExtraInfo,"))
        {
            Send(text.Thread(out int thread) && Exists(thread) ? Hex(DescribeThread(thread - 1)) : Invalid);
        }
        else if (text.Take("Attached"))
        {
            // To a process that was there before: a debugger that quits lets it go.
            Send("1");
        }
        else if (text.Take("Symbol"))
        {
            Send(Done);
        }
        else if (text.Take("Rcmd,"))
        {
            Send(text.Bytes(out byte[] command) ? Hex(_monitor.Run(Encoding.UTF8.GetString(command), _selected)) : Invalid);
        }
        else if (text.Take('C') && text.AtEnd)
        {
            Send("QC" + Id(_current));
        }
        else
        {
            Send(Unknown);
        }
    }

    private static string Id(int vcpu) => (vcpu + 1).ToString("x", CultureInfo.InvariantCulture);

    private static string Hex(string text) => Convert.ToHexStringLower(Encoding.UTF8.GetBytes(text));

    private bool Exists(int thread) => thread >= 1 && thread <= _target.Vcpus;

    private string DescribeThread(int vcpu)
    {
        VcpuActivity activity = _target.Read(vcpu).Events.Activity;
        string doing = activity switch
        {
            VcpuActivity.Halted => "halted",
            VcpuActivity.WaitingForSipi => "waiting for SIPI",
            _ => "running",
        };
        return string.Create(CultureInfo.InvariantCulture, $"CPU {vcpu} [{doing}]");
    }

    private string ReadDescription(PacketText text)
    {
        if (!text.Length(out int offset) || !text.Take(',') || !text.Length(out int length))
        {
            return Invalid;
        }
        string all = _registers.Description;
        if (offset >= all.Length)
        {
            return offset == all.Length ? "l" : Invalid;
        }
        // Escapes are rare and room is plenty.
        length = Math.Min(length, Packets.MaximumBody / 2);
        return all.Length - offset <= length ? string.Concat("l", all.AsSpan(offset)) : string.Concat("m", all.AsSpan(offset, length));
    }

    private string WriteRegisters(PacketText text)
    {
        if (!text.Bytes(out byte[] values) || _registers.Load(_target.Read(_selected), values) is not { } state)
        {
            return Invalid;
        }
        return _target.Write(_selected, state) ? Done : Invalid;
    }

    private string ReadRegister(PacketText text)
    {
        if (!Register(ref text, out GdbRegister? register))
        {
            return Invalid;
        }
        byte[] value = new byte[register!.Bytes];
        register.Get(_target.Read(_selected), value);
        return Convert.ToHexStringLower(value);
    }

    private string WriteRegister(PacketText text)
    {
        if (!Register(ref text, out GdbRegister? register) || !text.Take('=') || !text.Bytes(out byte[] value) || value.Length != register!.Bytes)
        {
            return Invalid;
        }
        return _target.Write(_selected, register.Set(_target.Read(_selected), value)) ? Done : Invalid;
    }

    private bool Register(ref PacketText text, out GdbRegister? register)
    {
        bool found = text.Length(out int number) && number < _registers.All.Count;
        register = found ? _registers.All[number] : null;
        return found;
    }

    private string ReadMemory(PacketText text) => TryReadMemory(text, Packets.MaximumBody / 2, out byte[] bytes) ? Convert.ToHexStringLower(bytes) : BadAddress;

    private void SendMemory(PacketText text)
    {
        if (TryReadMemory(text, (Packets.MaximumBody / 2) - 1, out byte[] bytes))
        {
            Send([(byte)'b', .. bytes]);
        }
        else
        {
            Send(BadAddress);
        }
    }

    private bool TryReadMemory(PacketText text, int most, out byte[] bytes)
    {
        bytes = [];
        if (!text.Number(out ulong address) || !text.Take(',') || !text.Length(out int length))
        {
            return false;
        }
        byte[] read = new byte[Math.Min(length, most)];
        int count = _target.ReadMemory(_selected, address, read);
        bytes = read[..count];
        return count > 0 || length == 0;
    }

    private string WriteMemory(PacketText text, bool binary)
    {
        if (!text.Number(out ulong address) || !text.Take(',') || !text.Length(out int length) || !text.Take(':'))
        {
            return Invalid;
        }
        byte[] bytes = [];
        if (binary)
        {
            bytes = text.Rest.ToArray();
        }
        else if (!text.Bytes(out bytes))
        {
            return Invalid;
        }
        if (bytes.Length != length)
        {
            return Invalid;
        }
        return length == 0 || _target.WriteMemory(_selected, address, bytes) ? Done : BadAddress;
    }

    /// <summary>Breakpoints of both kinds are the engine's: no memory changes, so they work in ROM and where nothing is mapped yet.</summary>
    private string ChangePoint(PacketText text, bool insert)
    {
        char type = text.Next();
        if (type is < '0' or > '4')
        {
            return Unknown;
        }
        if (!text.Take(',') || !text.Number(out ulong address) || !text.Take(',') || !text.Length(out int length) || length > 4096)
        {
            return Invalid;
        }
        DebugPoint point = type switch
        {
            '0' or '1' => new DebugPoint(DebugPointKind.Execute, address),
            '2' => new DebugPoint(DebugPointKind.Write, address, length),
            '3' => new DebugPoint(DebugPointKind.Read, address, length),
            _ => new DebugPoint(DebugPointKind.Access, address, length),
        };
        if (type is '0' or '1')
        {
            ChangeBreakpoint(point, type, insert);
        }
        else if (insert)
        {
            _target.AddPoint(point);
        }
        else
        {
            _target.RemovePoint(point);
        }
        return Done;
    }

    /// <summary>One place may have a software and a hardware breakpoint: it is left when both are gone.</summary>
    private void ChangeBreakpoint(DebugPoint point, char type, bool insert)
    {
        HashSet<ulong> mine = type == '0' ? _softwareBreakpoints : _hardwareBreakpoints;
        HashSet<ulong> other = type == '0' ? _hardwareBreakpoints : _softwareBreakpoints;
        if (insert)
        {
            mine.Add(point.Address);
            _target.AddPoint(point);
        }
        else if (mine.Remove(point.Address) && !other.Contains(point.Address))
        {
            _target.RemovePoint(point);
        }
    }

    private string SelectThread(PacketText text)
    {
        char operation = text.Next();
        if (operation is not ('g' or 'c') || !text.Thread(out int thread) || (thread > 0 && !Exists(thread)))
        {
            return Invalid;
        }
        if (operation == 'g')
        {
            _selected = thread > 0 ? thread - 1 : _current;
        }
        return Done;
    }

    /// <summary>c, s, C and S, of debuggers that do not know vCont.</summary>
    private void ResumeOld(PacketText text, char command)
    {
        bool signal = char.IsUpper(command);
        if (signal && (!text.Number(out _) || (!text.AtEnd && !text.Take(';'))))
        {
            Send(Invalid);
            return;
        }
        if (!text.AtEnd)
        {
            if (!text.Number(out ulong address) || !_target.Write(_selected, _target.Read(_selected) with { Rip = address }))
            {
                Send(Invalid);
                return;
            }
        }
        ResumeAction[] actions = new ResumeAction[_target.Vcpus];
        bool step = command is 's' or 'S';
        Array.Fill(actions, step ? ResumeAction.Stay : ResumeAction.Continue);
        actions[_selected] = step ? ResumeAction.Step : ResumeAction.Continue;
        Resume(actions);
    }

    /// <summary>vCont's actions: for each thread the first that names it counts. Null if they cannot be understood.</summary>
    private ResumeAction[]? ParseActions(PacketText text)
    {
        ResumeAction?[] actions = new ResumeAction?[_target.Vcpus];
        if (text.AtEnd)
        {
            return null;
        }
        while (!text.AtEnd)
        {
            if (!text.Take(';'))
            {
                return null;
            }
            char kind = text.Next();
            ResumeAction? action = kind switch
            {
                'c' or 'C' => ResumeAction.Continue,
                's' or 'S' => ResumeAction.Step,
                't' => ResumeAction.Stay,
                _ => null,
            };
            int thread = -1;
            if (action is null || (kind is 'C' or 'S' && !text.Number(out _)) || (text.Take(':') && !text.Thread(out thread)) || (thread > 0 && !Exists(thread)))
            {
                return null;
            }
            for (int i = 0; i < actions.Length; i++)
            {
                if (thread < 0 || thread - 1 == i || (thread == 0 && i == _current))
                {
                    actions[i] ??= action;
                }
            }
        }
        return [.. actions.Select(a => a ?? ResumeAction.Stay)];
    }

    private void Resume(ResumeAction[] actions)
    {
        _lastActions = actions;
        if (Array.TrueForAll(actions, a => a == ResumeAction.Stay))
        {
            Tell(Stop(0, _current, ""));
            return;
        }
        _running = true;
        _target.Resume(actions);
    }

    private void Report(TargetStop stop)
    {
        DebugStop debug = stop.Exit.Debug;
        string reason = debug.Kind switch
        {
            DebugStopKind.Breakpoint when _knowsStopReasons => _hardwareBreakpoints.Contains(debug.Point.Address) && !_softwareBreakpoints.Contains(debug.Point.Address) ? "hwbreak:;" : "swbreak:;",
            DebugStopKind.Watchpoint => string.Create(CultureInfo.InvariantCulture, $"{WatchName(debug.Point.Kind)}:{debug.Point.Address:x};"),
            _ => "",
        };
        Tell(Stop(stop.Exit.Reason == VcpuExitReason.Shutdown ? SegmentationSignal : TrapSignal, stop.Vcpu, reason));
        _current = _selected = stop.Vcpu;
    }

    private static string WatchName(DebugPointKind kind) => kind switch
    {
        DebugPointKind.Write => "watch",
        DebugPointKind.Read => "rwatch",
        _ => "awatch",
    };

    private static string Stop(int signal, int vcpu, string reason) => string.Create(CultureInfo.InvariantCulture, $"T{signal:x2}thread:{Id(vcpu)};{reason}");

    /// <summary>Says why the machine stopped, and remembers it for whoever asks.</summary>
    private void Tell(string reply)
    {
        _stopReply = reply;
        Send(reply);
    }

    private void Send(string body) => Send(Encoding.Latin1.GetBytes(body));

    private void Send(byte[] body)
    {
        _lastSent = Packets.Frame(body);
        _send(_lastSent);
    }
}
