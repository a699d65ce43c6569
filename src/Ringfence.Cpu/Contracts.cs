namespace Ringfence.Cpu;

/// <summary>What a processor reaches outside itself and RAM. Called on the thread that runs the processor.</summary>
public interface IProcessorBus
{
    /// <param name="size">1, 2 or 4 bytes.</param>
    uint ReadPort(ushort port, int size);

    /// <param name="size">1, 2 or 4 bytes.</param>
    void WritePort(ushort port, int size, uint value);

    /// <param name="size">1, 2, 4 or 8 bytes.</param>
    ulong ReadMemory(ulong address, int size);

    /// <param name="size">1, 2, 4 or 8 bytes.</param>
    void WriteMemory(ulong address, int size, ulong value);

    /// <summary>What <see cref="ReadPort"/> comes to, asked for once: a bus that only passes calls on says to whom.</summary>
    Func<ushort, int, uint> PortReader => ReadPort;

    /// <summary>Likewise <see cref="WritePort"/>.</summary>
    Action<ushort, int, uint> PortWriter => WritePort;

    /// <summary>The INTA cycle of the 8259 pair: a vector, or -1 if the request is gone.</summary>
    int AcknowledgeExternalInterrupt();

    /// <summary>EOI of a level-triggered vector, for IOAPICs.</summary>
    void EndOfInterrupt(byte vector);

    /// <summary>An inter-processor interrupt from this processor.</summary>
    /// <param name="command">The low half of the interrupt command register (SDM 3A 11.6.1).</param>
    /// <param name="destination">Physical or logical; all ones for all.</param>
    void SendInterprocessorInterrupt(uint command, uint destination);
}

/// <summary>Told of what leaves guest code, for tracing. Called on the thread that runs the processor.</summary>
public interface IProcessorTrace
{
    void Exit(ulong rip, ExitKind kind, ulong address, ulong value);
}

/// <summary>Kinds of exit from guest code to the VMM, as counted and traced.</summary>
public enum ExitKind
{
    PortRead,
    PortWrite,
    MmioRead,
    MmioWrite,
    ApicRead,
    ApicWrite,
    Cpuid,
    MsrRead,
    MsrWrite,
    ControlRegister,
    Halt,
    Interrupt,
    Exception,
}

/// <summary>Why <see cref="Processor.Run"/> came back.</summary>
public enum RunResult
{
    /// <summary><see cref="Processor.RequestExit"/> was called.</summary>
    ExitRequested,
    /// <summary>HLT: nothing to do until <see cref="Processor.HasWakeEvent"/>. Run again to go on.</summary>
    Halted,
    /// <summary>MWAIT: as <see cref="Halted"/>, but a store ends it too: <see cref="Processor.MonitoredLineChanged"/>, which no one is told of.</summary>
    Waiting,
    /// <summary>Triple fault. <see cref="Processor.ShutdownReport"/> tells how.</summary>
    Shutdown,
    /// <summary><see cref="Processor.SetStops"/> asked for it: <see cref="Processor.Stop"/> tells why.</summary>
    Stopped,
}
