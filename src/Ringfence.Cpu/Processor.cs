using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ringfence.Cpu.Apic;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.Paravirtual;
using Ringfence.Cpu.State;
using Ringfence.Cpu.SystemLevel;
using Ringfence.Host;

namespace Ringfence.Cpu;

/// <summary>
/// One x86-64 processor with its local APIC, over guest memory and a bus. It knows no device, no engine and no thread: whoever calls
/// <see cref="Run"/> is the processor. Only members that say so may be called from other threads.
/// </summary>
public sealed unsafe partial class Processor : IDisposable
{
    private readonly IProcessorBus _bus;
    private readonly Func<ushort, int, uint> _readPort;
    private readonly Action<ushort, int, uint> _writePort;
    private readonly IClock _clock;
    private readonly HostPages _state;
    private GCHandle _self;
    /// <summary>Of <see cref="Attentions.AnyNmi"/>: NMIs that wait until the one that is being handled has ended. Only while the processor runs.</summary>
    private int _heldNmis;
    /// <summary>See <see cref="LimitTurns"/>.</summary>
    private int _turnsLeft;

    /// <param name="apicId">0 to 254; 0 is the bootstrap processor.</param>
    /// <param name="shared">What the processors of a machine have in common; null for one that is alone.</param>
    /// <param name="translators">Where blocks are to be translated.</param>
    /// <param name="platform">What else they have in common; null likewise.</param>
    /// <param name="apicClock">What the local APIC's timer counts, if it is not <paramref name="clock"/>, which the time-stamp counter counts.</param>
    /// <param name="woken">Called on any thread when a processor that may be asleep has something to do.</param>
    public Processor(GuestMemory memory, IProcessorBus bus, IClock clock, CpuModel model, int apicId, Action woken, SharedCode? shared = null,
        ITranslatorFactory? translators = null, ParavirtualPlatform? platform = null, IClock? apicClock = null)
    {
        if (translators is null && (model.Features & CpuFeatures.PassedOn) != default)
        {
            throw new ArgumentException($"the processor '{model.Name}' is only for those that translate", nameof(model));
        }
        _bus = bus;
        _readPort = bus.PortReader;
        _clock = clock;
        Model = model;
        ApicId = apicId;
        _self = GCHandle.Alloc(this);
        _state = new HostPages(StateBytes + (translators?.StateBytes ?? 0));
        State = (CpuState*)_state.Address;
        State->Owner = GCHandle.ToIntPtr(_self);
        CpuidAnswers = new CpuidAnswers(this);
        shared ??= new SharedCode(memory);
        shared.Join(this);
        Shared = shared;
        Platform = platform ?? new ParavirtualPlatform(memory, shared, clock, TscHertz, clock);
        _writePort = model.OffersHyperV ? WritePortOrCall(bus.PortWriter) : bus.PortWriter;
        Mmu = new Mmu(this, State, memory, shared);
        CodeRequests = new CodeRequestQueue(this, shared.Exclusive);
        Monitor = new MonitoredLine(this, memory);
        Locked = new LockedAccess(this, memory, shared);
        Blocks = new BlockCache(this, State, memory, shared);
        ApicHertz = apicClock is null || apicClock == clock ? Platform.ClockHertz : TscHertz;
        Apic = new LocalApic(apicId, clock, apicClock ?? clock, this, woken);
        Segments = new SegmentLoader(this);
        Tasks = new TaskSwitcher(this);
        Debugging = new DebugUnit(this);
        Delivery = new EventDelivery(this);
        Translator = translators?.Create(this);
        Registers = new SystemRegisters(this);
        Msrs = new ModelSpecificRegisters(this);
        Paravirtual = ParavirtualUnit.Create(this, Platform);
        Reset();
    }

    ~Processor() => Free();

    public int ApicId { get; }

    public CpuModel Model { get; }

    /// <summary>The processor's registers. Valid until <see cref="Dispose"/>.</summary>
    public CpuState* State { get; private set; }

    public LocalApic Apic { get; }

    /// <summary>What its timer counts in a second.</summary>
    internal long ApicHertz { get; }

    /// <summary>Told of exits when not null.</summary>
    public IProcessorTrace? Trace
    {
        get;
        set
        {
            field = value;
            CpuidAnswers.Forget();
        }
    }

    private readonly long[] _exits = new long[Enum.GetValues<ExitKind>().Length];

    /// <summary>How often there was an exit of a kind.</summary>
    public long CountOf(ExitKind kind) => _exits[(int)kind] + (kind == ExitKind.Cpuid ? State->Translated.Cpuid.Found : 0);

    /// <summary>After <see cref="RunResult.Shutdown"/>: the vectors that led there, oldest first, and where.</summary>
    public string? ShutdownReport => Delivery.ShutdownReport;

    /// <summary>When timing is on: clock nanoseconds spent in the bus.</summary>
    public long BusNanoseconds { get; private set; }

    /// <summary>Measure <see cref="BusNanoseconds"/>; off by default, since it costs two looks at the clock for each exit.</summary>
    public bool MeasureBus { get; set; }

    /// <summary>Exits are traced or measured, not only counted.</summary>
    private bool IsObserved => Trace is not null || MeasureBus;

    internal Mmu Mmu { get; }

    internal LockedAccess Locked { get; }

    internal MonitoredLine Monitor { get; }

    internal BlockCache Blocks { get; }

    internal SharedCode Shared { get; }

    /// <summary>Makes host code of blocks that run often; null where all is interpreted.</summary>
    public IBlockTranslator? Translator { get; }

    internal CodeRequestQueue CodeRequests { get; }

    internal SegmentLoader Segments { get; }

    internal TaskSwitcher Tasks { get; }

    internal DebugUnit Debugging { get; }

    internal EventDelivery Delivery { get; }

    internal SystemRegisters Registers { get; }

    internal ModelSpecificRegisters Msrs { get; }

    internal CpuidAnswers CpuidAnswers { get; }

    internal ParavirtualPlatform Platform { get; }

    /// <summary>Null where the model offers none.</summary>
    internal ParavirtualUnit? Paravirtual { get; }

    /// <summary>The guest's time-stamp counter. It counts nanoseconds: 1 GHz.</summary>
    internal ulong TimeStamp => (ulong)_clock.Now + State->TscOffset;

    internal IProcessorBus Bus => _bus;

    internal IClock Clock => _clock;

    /// <summary>Bytes from the state's start to where the translator's part begins.</summary>
    public static nuint StateBytes => ((nuint)sizeof(CpuState) + 4095) & ~(nuint)4095;

    public const long TscHertz = 1_000_000_000;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Processor Of(CpuState* s) => Unsafe.As<Processor>(GCHandle.FromIntPtr(s->Owner).Target!);

    /// <summary>Power-on state (SDM 3A table 10-1).</summary>
    public void Reset()
    {
        Registers.Reset();
        Msrs.Reset();
        Apic.Reset();
        Mmu.FlushAll();
        Debugging.Update();
    }

    /// <summary>What firmware does to a processor before it hands on, for guests that are entered directly.</summary>
    public void PrepareAsFirmware()
    {
        if (ApicId == 0)
        {
            Apic.EnterVirtualWire();
        }
        Msrs.SetFirmwareMemoryTypes();
    }

    /// <summary>INIT: as <see cref="Reset"/>, but the APIC's identity and the FPU stay (SDM 3A 10.1.1). The processor is to wait for SIPI.</summary>
    public void Init()
    {
        Registers.Init();
        Apic.Init();
        Paravirtual?.Init();
        Mmu.FlushAll();
        Debugging.Update();
    }

    /// <summary>SIPI: real mode at vector x 4 KiB.</summary>
    public void StartUp(byte vector)
    {
        State->Cs = State->Cs with { Selector = (uint)vector << 8, Base = (ulong)vector << 12 };
        State->Rip = 0;
        ModeChanged();
    }

    /// <summary>To be called after state was set from outside: everything derived from it is made anew.</summary>
    public void StateLoaded()
    {
        Registers.StateLoaded();
        Blocks.Flush();
        Debugging.Update();
        NoteInterrupts();
    }

    /// <summary>Bytes of decoded code that <see cref="GiveBackCode"/> would give back with little loss; 0 if it would all have to be translated again.</summary>
    public long SpareCodeBytes => Translator is { Remembers: true } ? Blocks.Bytes : 0;

    /// <summary>Forgets what was made of the guest's code. To be called between instructions, by the processor's own thread.</summary>
    public void GiveBackCode() => Blocks.GiveBack();

    /// <summary>The MSRs that hold something and are not fields of <see cref="State"/> that have a name of their own elsewhere.</summary>
    public IReadOnlyDictionary<uint, ulong> SaveMsrs() => Msrs.Save();

    /// <exception cref="ArgumentException">This model has no such MSR, or it cannot hold that.</exception>
    public void LoadMsrs(IReadOnlyDictionary<uint, ulong> values) => Msrs.Load(values);

    /// <summary>Null where the model offers no paravirtual interfaces.</summary>
    public ParavirtualState? SaveParavirtual() => Paravirtual?.Save();

    /// <summary>Only while the processor does not run. The time-stamp counter's offset must be there already.</summary>
    public void LoadParavirtual(ParavirtualState state) => Paravirtual?.Restore(state);

    /// <summary>The processor was asleep so long.</summary>
    public void NoteSlept(TimeSpan time) => Paravirtual?.NoteSlept(time);

    /// <summary>To be called when the time-stamp counter's offset was changed.</summary>
    internal void TimeStampChanged()
    {
        Apic.TimeStampChanged();
        if (Paravirtual is not null)
        {
            Platform.TimeStampChanged();
        }
    }

    /// <summary>Makes <see cref="Run"/> return soon. Any thread.</summary>
    public void RequestExit() => Raise(Attentions.Exit);

    /// <summary>Asks for a non-maskable interrupt: two can wait, one while one is handled (<see cref="EndNmi"/>). Any thread.</summary>
    public void RequestNmi()
    {
        // Each bit is set once: set again, an NMI that was taken in between would come twice.
        if ((Interlocked.Or(ref State->Attention, Attentions.Nmi) & Attentions.Nmi) != 0)
        {
            Interlocked.Or(ref State->Attention, Attentions.SecondNmi);
        }
        Apic.Woken();
    }

    /// <summary>The level of the INTR wire from the 8259 pair. Any thread.</summary>
    public void SetExternalInterrupt(bool asserted) => Apic.SetExternalInterrupt(asserted);

    /// <summary>Whether a halted processor has a reason to go on.</summary>
    public bool HasWakeEvent =>
        ((State->Attention & Attentions.AnyNmi) != 0 && !Delivery.NmiBlocked) || ((InterruptsEnabled || Monitor.EndsOnMasked) && Apic.HasInterrupt);

    /// <summary>After <see cref="RunResult.Waiting"/>: whether a store has ended the wait. To be asked now and then.</summary>
    public bool MonitoredLineChanged => Monitor.HasChanged;

    /// <summary>Whether interrupts can ever end a halt: if not, only NMI, INIT or reset do.</summary>
    public bool InterruptsEnabled => (State->SystemFlags & Flags.Interrupt) != 0;

    /// <summary>Runs guest code until someone asks for an exit, the guest halts or shuts down.</summary>
    public RunResult Run()
    {
        Monitor.End();
        CodeRequests.EnterGuest();
        RunResult result = RunGuest();
        CodeRequests.LeaveGuest();
        ReleaseNmis();
        return result;
    }

    /// <summary>Makes each block come back to the outer loop, and <see cref="Run"/> return after so many that it ends the same way each
    /// time, whatever the guest does. For tests; what sets <see cref="CpuState.Attention"/> to 0 lifts the limit.</summary>
    internal void LimitTurns(int turns)
    {
        _turnsLeft = turns;
        RaiseQuietly(Attentions.Counted);
    }

    private RunResult RunGuest()
    {
        CpuState* s = State;
        while (true)
        {
            uint shadow = s->InterruptShadow;
            s->InterruptShadow = InterruptShadow.None;
            Delivery.TrapPending = (s->SystemFlags & Flags.Trap) != 0;
            // RF, and on Intel's processors MOV SS before, let the next instruction's breakpoint pass (SDM 3A 6.8.3).
            bool passes = Debugging.HasCode && ((s->SystemFlags & Flags.Resume) != 0 || (shadow == InterruptShadow.MovSs && !Model.IsAmd));
            bool step = Delivery.TrapPending || Debugging.Pending != 0 || passes;
            if ((s->Attention & (Attentions.Code | Attentions.Debug)) != 0)
            {
                Interlocked.And(ref s->Attention, ~(Attentions.Code | Attentions.Debug));
                CodeRequests.Serve();
            }
            bool single = false;
            if (s->Attention != 0)
            {
                if ((s->Attention & Attentions.Stop) != 0 && AttendStop(out single))
                {
                    s->InterruptShadow = shadow;
                    return RunResult.Stopped;
                }
                if ((s->Attention & Attentions.Exit) != 0 && !single)
                {
                    Interlocked.And(ref s->Attention, ~Attentions.Exit);
                    s->InterruptShadow = shadow;
                    return RunResult.ExitRequested;
                }
                if ((s->Attention & Attentions.Counted) != 0 && --_turnsLeft < 0)
                {
                    s->InterruptShadow = shadow;
                    return RunResult.ExitRequested;
                }
                if (shadow != InterruptShadow.None)
                {
                    step = true;
                }
                else if (!single && s->Event == ExitEvent.None && TakeInterrupt() && s->Event == ExitEvent.None)
                {
                    // What runs next is the handler.
                    continue;
                }
            }
            long retired = s->Retired;
            if (s->Event == ExitEvent.None && (Debugging.Pending == 0 || shadow == InterruptShadow.MovSs))
            {
                if (single)
                {
                    ExecuteSingle(passes);
                }
                else
                {
                    ExecuteNext(step, passes);
                }
                if (retired == s->Retired && s->Event == ExitEvent.None && s->InterruptShadow == InterruptShadow.None)
                {
                    // Attention has come between the look at it and the block's: the instruction in the shadow is still to run.
                    s->InterruptShadow = shadow;
                }
            }
            if (s->Event != ExitEvent.None)
            {
                ExitEvent happened = s->Event;
                s->Event = ExitEvent.None;
                if (happened == ExitEvent.Stop)
                {
                    // The instruction has not run. The shadow was the block's first one's.
                    s->InterruptShadow = retired == s->Retired ? shadow : InterruptShadow.None;
                    Stop = Stops!.Executed((s->Rip + s->Cs.Base) & s->LinearMask);
                    return RunResult.Stopped;
                }
                if (happened == ExitEvent.Fault)
                {
                    Stops?.ForgetHit();
                    if (Mmu.MetNonCanonical)
                    {
                        NameNonCanonicalFault();
                    }
                    // What was noted on the way is noted again when the instruction is restarted.
                    Debugging.Pending = 0;
                    Count(ExitKind.Exception, s->FaultVector, s->FaultError);
                    Delivery.DeliverFault();
                }
                if (happened == ExitEvent.Halt && !Delivery.TrapPending && Debugging.Pending == 0)
                {
                    Count(ExitKind.Halt, 0, 0);
                    return RunResult.Halted;
                }
                if (happened == ExitEvent.Wait && !Delivery.TrapPending)
                {
                    Count(ExitKind.Halt, 0, 0);
                    return RunResult.Waiting;
                }
                if (happened == ExitEvent.Shutdown || s->Event == ExitEvent.Shutdown)
                {
                    s->Event = ExitEvent.None;
                    return RunResult.Shutdown;
                }
            }
            if ((Delivery.TrapPending || Debugging.Pending != 0) && s->InterruptShadow != InterruptShadow.MovSs && s->Event == ExitEvent.None)
            {
                Delivery.DeliverDebugTrap();
                if (s->Event == ExitEvent.Shutdown)
                {
                    s->Event = ExitEvent.None;
                    return RunResult.Shutdown;
                }
            }
        }
    }

    /// <summary>Runs blocks until one has a reason to come back, or one instruction.</summary>
    private void ExecuteNext(bool step, bool passes)
    {
        CpuState* s = State;
        if (step)
        {
            ExecuteAlone(passes);
            return;
        }
        s->SystemFlags &= ~(ulong)Flags.Resume;
        // A block that wants to be linked has looked in the jump cache already.
        Op* op = s->LinkSlot != null ? Blocks.Find() : ControlFlow.Dispatch(s);
        if (op == null && s->Event == ExitEvent.None)
        {
            op = Blocks.Find();
        }
        Execute(op);
        if (s->Event == ExitEvent.Step)
        {
            s->Event = ExitEvent.None;
            ExecuteAlone(false);
        }
        else if (s->Event == ExitEvent.Redecode)
        {
            s->Event = ExitEvent.None;
            Execute(Blocks.Find());
        }
    }

    public void Dispose()
    {
        Apic.Dispose();
        Paravirtual?.Dispose();
        Mmu.Dispose();
        Blocks.Dispose();
        Translator?.Dispose();
        Free();
        GC.SuppressFinalize(this);
    }

    /// <summary>Notes that something wants the outer loop, and wakes a sleeping processor. Any thread.</summary>
    internal void Raise(int attention)
    {
        Interlocked.Or(ref State->Attention, attention);
        Apic.Woken();
    }

    /// <summary>As <see cref="Raise"/>, but a processor that sleeps sleeps on. Any thread.</summary>
    internal void RaiseQuietly(int attention) => Interlocked.Or(ref State->Attention, attention);

    /// <summary>IRET: NMIs are let in again. Of those that came while one was handled, one has waited (SDM 3A 6.7.1).</summary>
    internal void EndNmi()
    {
        if (Delivery.NmiBlocked)
        {
            Delivery.NmiBlocked = false;
            ReleaseNmis();
            if ((State->Attention & Attentions.AnyNmi) == Attentions.AnyNmi)
            {
                Interlocked.And(ref State->Attention, ~Attentions.SecondNmi);
            }
        }
    }

    /// <summary>While NMIs are blocked those that wait want nobody's attention: translated loops would come back for them at each turn, and not get on.</summary>
    private void HoldNmis()
    {
        int waiting = Interlocked.And(ref State->Attention, ~Attentions.AnyNmi) & Attentions.AnyNmi;
        _heldNmis = _heldNmis == 0 ? waiting : Attentions.AnyNmi;
    }

    private void ReleaseNmis()
    {
        if (_heldNmis != 0)
        {
            int held = _heldNmis;
            _heldNmis = 0;
            if ((Interlocked.Or(ref State->Attention, held) & Attentions.Nmi) != 0)
            {
                Interlocked.Or(ref State->Attention, Attentions.SecondNmi);
            }
        }
    }

    /// <summary>To be called when interrupts may have become deliverable: IF set, EOI, a lower task priority.</summary>
    internal void NoteInterrupts()
    {
        if (InterruptsEnabled && Apic.HasInterrupt)
        {
            Interlocked.Or(ref State->Attention, Attentions.Interrupt);
        }
    }

    /// <summary>Brings up to date what is derived from control registers, segments and CPL.</summary>
    internal void ModeChanged()
    {
        CpuState* s = State;
        bool longMode = (s->Efer & ControlBits.LongModeActive) != 0;
        bool code64 = longMode && s->Cs.Is(SegmentAttributes.Long);
        bool v86 = (s->SystemFlags & Flags.Virtual8086) != 0;
        uint mode = code64 ? CodeMode.Bits64 : s->Cs.Is(SegmentAttributes.Big) ? CodeMode.Bits32 : CodeMode.Bits16;
        if ((s->Cr0 & ControlBits.ProtectedMode) != 0 && !v86)
        {
            mode |= CodeMode.Protected;
        }
        if (code64)
        {
            mode |= CodeMode.Flat;
            s->LinearMask = ulong.MaxValue;
        }
        else
        {
            s->LinearMask = uint.MaxValue;
            mode |= s->Ss.Is(SegmentAttributes.Big) ? CodeMode.Stack32 : 0;
            mode |= IsFlat(s->Es) && IsFlatCode(s->Cs) && IsFlat(s->Ss) && IsFlat(s->Ds) ? CodeMode.Flat : 0;
        }
        mode |= (s->Cr0 & (ControlBits.Emulation | ControlBits.TaskSwitched)) != 0 ? CodeMode.NoX87 : 0;
        mode |= (s->Cr0 & ControlBits.Emulation) != 0 || (s->Cr4 & ControlBits.OsFxsr) == 0 ? CodeMode.InvalidSse : 0;
        mode |= (s->Cr0 & ControlBits.TaskSwitched) != 0 ? CodeMode.NoSse : 0;
        bool avx = (s->Cr4 & ControlBits.OsXsave) != 0 && (s->Xcr0 & ControlBits.Xcr0Avx) == ControlBits.Xcr0Avx;
        mode |= avx && (mode & CodeMode.Protected) != 0 ? 0 : CodeMode.InvalidAvx;
        mode |= (mode & CodeMode.InvalidAvx) == 0 && (s->Xcr0 & ControlBits.Xcr0Avx512) == ControlBits.Xcr0Avx512 ? 0 : CodeMode.InvalidAvx512;
        mode |= Debugging.HasCode ? CodeMode.Breakpoints : 0;
        mode |= s->Cpl == 3 ? CodeMode.User : 0;
        s->Mode = mode;
        Mmu.SelectTlb();
        if (LeavesForUserMode && s->Cpl == 3)
        {
            RaiseQuietly(Attentions.Exit);
        }
    }

    /// <summary>Whether an instruction may be fetched from a linear address: the limit of CS, canonical form. If not, the fault is recorded.</summary>
    internal bool CheckFetch(ulong linear)
    {
        CpuState* s = State;
        if ((s->Mode & CodeMode.BitsMask) == CodeMode.Bits64)
        {
            if (LinearAddress.IsCanonical(s, linear))
            {
                return true;
            }
        }
        else if (((linear - s->Cs.Base) & uint.MaxValue) <= s->Cs.Limit)
        {
            return true;
        }
        Exits.Record(s, Vectors.GeneralProtection);
        return false;
    }

    internal void ForgetFault() => State->Event = ExitEvent.None;

    internal bool IsApicPage(ulong physical) => Apic.Covers(physical);

    internal ulong ReadPhysicalDevice(ulong physical, int size)
    {
        if (Apic.Covers(physical))
        {
            ulong register = Apic.Read((uint)physical & 0xFFF, size);
            Count(ExitKind.ApicRead, physical, register);
            return register;
        }
        return ReadBus(physical, size);
    }

    internal void WritePhysicalDevice(ulong physical, int size, ulong value)
    {
        if (Apic.Covers(physical))
        {
            Count(ExitKind.ApicWrite, physical, value);
            Apic.Write((uint)physical & 0xFFF, size, (uint)value);
            return;
        }
        Count(ExitKind.MmioWrite, physical, value);
        long start = MeasureBus ? _clock.Now : 0;
        _bus.WriteMemory(physical, size, value);
        BusNanoseconds += MeasureBus ? _clock.Now - start : 0;
    }

    private ulong ReadBus(ulong physical, int size)
    {
        long start = MeasureBus ? _clock.Now : 0;
        ulong value = _bus.ReadMemory(physical, size);
        BusNanoseconds += MeasureBus ? _clock.Now - start : 0;
        Count(ExitKind.MmioRead, physical, value);
        return value;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint ReadPort(ushort port, int size)
    {
        if (IsObserved)
        {
            return ReadPortObserved(port, size);
        }
        _exits[(int)ExitKind.PortRead]++;
        return _readPort(port, size);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void WritePort(ushort port, int size, uint value)
    {
        if (IsObserved)
        {
            WritePortObserved(port, size, value);
            return;
        }
        _exits[(int)ExitKind.PortWrite]++;
        _writePort(port, size, value);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private uint ReadPortObserved(ushort port, int size)
    {
        long start = MeasureBus ? _clock.Now : 0;
        uint value = _readPort(port, size);
        BusNanoseconds += MeasureBus ? _clock.Now - start : 0;
        Count(ExitKind.PortRead, port, value);
        return value;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void WritePortObserved(ushort port, int size, uint value)
    {
        Count(ExitKind.PortWrite, port, value);
        long start = MeasureBus ? _clock.Now : 0;
        _writePort(port, size, value);
        BusNanoseconds += MeasureBus ? _clock.Now - start : 0;
    }

    /// <summary>The port through which Hyper-V's guests call is none of the board's.</summary>
    private Action<ushort, int, uint> WritePortOrCall(Action<ushort, int, uint> writePort) => (port, size, value) =>
    {
        if (port == HyperVHypercalls.Port && size == sizeof(uint) && Paravirtual!.TakesHypercalls)
        {
            if (State->Cpl == 0)
            {
                Paravirtual.Hypercall();
            }
            return;
        }
        writePort(port, size, value);
    };

    /// <summary>Counts and traces an exit. RIP is that of the block: exact where the handler left the block first.</summary>
    internal void Count(ExitKind kind, ulong address, ulong value)
    {
        _exits[(int)kind]++;
        Trace?.Exit(State->Rip + State->ExitIp, kind, address, value);
    }

    /// <summary>The innermost loop: blocks follow each other until one has a reason to come back.</summary>
    private void Execute(Op* op)
    {
        CpuState* s = State;
        Debugging.Alone = false;
        while (op != null)
        {
            op = op->Handler(s, op);
        }
        Debugging.Alone = true;
        RestoreCount();
    }

    /// <summary>Runs the instruction at RIP and no more, decoded anew.</summary>
    /// <param name="passes">A breakpoint on it does not count.</param>
    private void ExecuteAlone(bool passes)
    {
        CpuState* s = State;
        if (!passes && Debugging.HasCode && Debugging.StopsAt((s->Rip + s->Cs.Base) & s->LinearMask))
        {
            return;
        }
        // RF ends as an instruction begins (SDM 3B 18.3.1.1).
        s->SystemFlags &= ~(ulong)Flags.Resume;
        Op* op = Blocks.Step();
        if (op != null)
        {
            // What it returns would be the next block.
            op->Handler(s, op);
            s->LinkSlot = null;
            RestoreCount();
        }
    }

    /// <summary>Gives back what a repeated string instruction's guard has taken from its count.</summary>
    private void RestoreCount()
    {
        State->Gpr[1] += State->RepeatRest;
        State->RepeatRest = 0;
    }

    private static bool IsFlat(in SegmentRegister segment) =>
        segment.Base == 0 && segment.Limit == uint.MaxValue && (segment.Attributes & (SegmentAttributes.Unusable | SegmentAttributes.Code
            | SegmentAttributes.Writable | SegmentAttributes.ExpandDown)) == SegmentAttributes.Writable;

    /// <summary>Flat and readable.</summary>
    private static bool IsFlatCode(in SegmentRegister segment) =>
        segment.Base == 0 && segment.Limit == uint.MaxValue && segment.Is(SegmentAttributes.Writable);

    /// <summary>Delivers the most urgent interrupt that may be taken now. True if one was.</summary>
    private bool TakeInterrupt()
    {
        CpuState* s = State;
        if ((s->Attention & Attentions.AnyNmi) != 0)
        {
            if (!Delivery.NmiBlocked)
            {
                Interlocked.And(ref s->Attention, (s->Attention & Attentions.SecondNmi) != 0 ? ~Attentions.SecondNmi : ~Attentions.Nmi);
                Count(ExitKind.Interrupt, (ulong)Vectors.Nmi, 0);
                Delivery.DeliverNmi();
                return true;
            }
            HoldNmis();
        }
        // Cleared first: whoever raises an interrupt from here on sets it again.
        Interlocked.And(ref s->Attention, ~Attentions.Interrupt);
        if (!InterruptsEnabled)
        {
            // IRET, POPF and STI look again when they set IF.
            return false;
        }
        int vector = Apic.Acknowledge(_bus);
        if (vector < 0)
        {
            return false;
        }
        if (Apic.HasInterrupt)
        {
            Interlocked.Or(ref s->Attention, Attentions.Interrupt);
        }
        Count(ExitKind.Interrupt, (ulong)vector, 0);
        Delivery.DeliverInterrupt((byte)vector);
        return true;
    }

    /// <summary>A non-canonical address met through the stack is #SS.</summary>
    private void NameNonCanonicalFault()
    {
        Mmu.MetNonCanonical = false;
        if (State->FaultVector == (uint)Vectors.GeneralProtection && StackReferences.IsThroughStack(State, Blocks.Inspect()))
        {
            State->FaultVector = (uint)Vectors.StackFault;
        }
    }

    private void Free()
    {
        _state.Dispose();
        State = null;
        if (_self.IsAllocated)
        {
            _self.Free();
        }
    }
}

/// <summary>Bits of <see cref="CpuState.Attention"/>.</summary>
internal static class Attentions
{
    public const int Exit = 1;
    public const int Interrupt = 2;
    public const int Nmi = 4;
    /// <summary>Another processor asks something about decoded code.</summary>
    public const int Code = 8;
    /// <summary>A debug exception is due after the instruction: see <see cref="DebugUnit.Pending"/>.</summary>
    public const int Debug = 16;
    /// <summary>An NMI after the one that waits.</summary>
    public const int SecondNmi = 32;
    public const int AnyNmi = Nmi | SecondNmi;
    /// <summary>A step or a watched access is to be reported: <see cref="Stops.StopPoints"/>.</summary>
    public const int Stop = 64;
    /// <summary>Blocks are counted: see <see cref="Processor.LimitTurns"/>.</summary>
    public const int Counted = 128;
}
