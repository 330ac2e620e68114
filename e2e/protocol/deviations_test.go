package protocol

var (
	coderDeviations          []deviation
	coderDeflateDeviations   []deviation
	gorillaDeviations        []deviation
	gorillaDeflateDeviations []deviation
	gwsDeviations            []deviation
	gwsDeflateDeviations     []deviation
)
