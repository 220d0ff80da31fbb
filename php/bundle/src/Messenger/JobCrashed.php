<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Fervo\Runner\Failure;

/** The process that ran a message has died, or did not end in time: what the application's listeners and its failure transport get to see. */
final class JobCrashed extends \RuntimeException
{
    public function __construct(Failure $failure)
    {
        parent::__construct($failure->code.': '.$failure->message);
        // Messenger takes two errors for the same one when their class, code, file and line are equal, whatever their text, and would
        // show the first one for ever.
        $this->file = 'fervo-worker ('.$this->message.')';
        $this->line = 0;
    }
}
